package dev.heddle.bench;

import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.typeinfo.TypeHint;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.Collector;

/** The endless jobs. Each gives how many input records a counted one stands for. */
final class StreamingJobs {
    private static final int KEYS = 10_000;

    private StreamingJobs() {}

    static double wordCount(StreamExecutionEnvironment env, Arguments arguments) {
        lines(env, arguments)
                .flatMap(new Tokenizer())
                .keyBy(count -> count.f0, Types.STRING)
                .reduce(
                        (a, b) -> {
                            a.f1 += b.f1;
                            return a;
                        })
                .sinkTo(new CountingSink<>());
        return 1;
    }

    /** As Flink's own WordCount example has it. */
    static double plainUser(StreamExecutionEnvironment env, Arguments arguments) {
        lines(env, arguments)
                .flatMap(new PlainTokenizer())
                .keyBy(value -> value.f0)
                .sum(1)
                .sinkTo(new CountingSink<>());
        return 1;
    }

    static double mapFilter(StreamExecutionEnvironment env) {
        source(env, "integers", Types.LONG, Integers::new)
                .map(value -> value * 31 + 7)
                .returns(Types.LONG)
                .filter(value -> (value & 1) == 0)
                .sinkTo(new CountingSink<>());
        // The filter passes each second integer.
        return 2;
    }

    static double keyedReduce(StreamExecutionEnvironment env) {
        source(
                        env,
                        "keyed integers",
                        TypeInformation.of(new TypeHint<Tuple2<Long, Long>>() {}),
                        KeyedIntegers::new)
                .keyBy(value -> value.f0, Types.LONG)
                .reduce(
                        (a, b) -> {
                            a.f1 += b.f1;
                            return a;
                        })
                .sinkTo(new CountingSink<>());
        return 1;
    }

    private static DataStream<String> lines(StreamExecutionEnvironment env, Arguments arguments) {
        int keys = arguments.integer("keys", KEYS);
        boolean longWords = arguments.text("words", "short").equals("long");
        return source(
                env,
                "lines",
                Types.STRING,
                (subtask, parallelism) -> new Lines(keys, longWords, subtask, parallelism));
    }

    private static <T> DataStream<T> source(
            StreamExecutionEnvironment env,
            String name,
            TypeInformation<T> type,
            GeneratorSource.Factory<T> factory) {
        return env.fromSource(
                new GeneratorSource<>(factory), WatermarkStrategy.noWatermarks(), name, type);
    }

    private static final class Lines implements GeneratorSource.Generator<String> {
        private final String[] table;
        private int next;

        Lines(int keys, boolean longWords, int subtask, int parallelism) {
            table = Words.lines(keys, longWords);
            next = (int) ((long) table.length * subtask / parallelism);
        }

        @Override
        public String next() {
            String line = table[next];
            next = next + 1 == table.length ? 0 : next + 1;
            return line;
        }
    }

    private static final class Integers implements GeneratorSource.Generator<Long> {
        private final long step;
        private long next;

        Integers(int subtask, int parallelism) {
            next = subtask;
            step = parallelism;
        }

        @Override
        public Long next() {
            long value = next;
            next = value + step;
            return value;
        }
    }

    private static final class KeyedIntegers
            implements GeneratorSource.Generator<Tuple2<Long, Long>> {
        private final Tuple2<Long, Long> reused = new Tuple2<>(0L, 0L);
        private final Words.SplitMix random;
        private long next;

        KeyedIntegers(int subtask, int parallelism) {
            random = new Words.SplitMix(subtask);
        }

        @Override
        public Tuple2<Long, Long> next() {
            reused.f0 = (long) random.below(KEYS);
            reused.f1 = next++;
            return reused;
        }
    }

    private static final class Tokenizer implements FlatMapFunction<String, Tuple2<String, Long>> {
        private final Tuple2<String, Long> reused = new Tuple2<>(null, 1L);

        @Override
        public void flatMap(String line, Collector<Tuple2<String, Long>> out) {
            int start = 0;
            while (start < line.length()) {
                int end = line.indexOf(' ', start);
                if (end < 0) {
                    end = line.length();
                }
                if (end > start) {
                    reused.f0 = line.substring(start, end);
                    reused.f1 = 1L;
                    out.collect(reused);
                }
                start = end + 1;
            }
        }
    }

    private static final class PlainTokenizer
            implements FlatMapFunction<String, Tuple2<String, Long>> {
        @Override
        public void flatMap(String line, Collector<Tuple2<String, Long>> out) {
            for (String word : line.toLowerCase().split("\\s+")) {
                if (!word.isEmpty()) {
                    out.collect(Tuple2.of(word, 1L));
                }
            }
        }
    }
}
