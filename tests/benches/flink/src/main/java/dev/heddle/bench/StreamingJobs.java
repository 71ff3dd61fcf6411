package dev.heddle.bench;

import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.typeinfo.TypeHint;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.connector.datagen.source.DataGeneratorSource;
import org.apache.flink.connector.datagen.source.GeneratorFunction;
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
                .sum(1)
                .sinkTo(new CountingSink<>(arguments));
        return 1;
    }

    /** As Flink's own WordCount example has it. */
    static double plainUser(StreamExecutionEnvironment env, Arguments arguments) {
        lines(env, arguments)
                .flatMap(new PlainTokenizer())
                .keyBy(value -> value.f0)
                .sum(1)
                .sinkTo(new CountingSink<>(arguments));
        return 1;
    }

    static double mapFilter(StreamExecutionEnvironment env, Arguments arguments) {
        source(env, arguments, "integers", Types.LONG, index -> index)
                .map(value -> value * 31 + 7)
                .returns(Types.LONG)
                .filter(value -> (value & 1) == 0)
                .sinkTo(new CountingSink<>(arguments));
        // The filter passes each second integer.
        return 2;
    }

    static double keyedReduce(StreamExecutionEnvironment env, Arguments arguments) {
        source(
                        env,
                        arguments,
                        "keyed integers",
                        TypeInformation.of(new TypeHint<Tuple2<Long, Long>>() {}),
                        new KeyedIntegers())
                .keyBy(value -> value.f0, Types.LONG)
                .reduce(
                        (a, b) -> {
                            // Object reuse allows to change the first argument.
                            a.f1 += b.f1;
                            return a;
                        })
                .sinkTo(new CountingSink<>(arguments));
        return 1;
    }

    private static DataStream<String> lines(StreamExecutionEnvironment env, Arguments arguments) {
        int keys = arguments.integer("keys", KEYS);
        boolean longWords = arguments.text("words", "short").equals("long");
        return source(env, arguments, "lines", Types.STRING, new Lines(keys, longWords));
    }

    private static <T> DataStream<T> source(
            StreamExecutionEnvironment env,
            Arguments arguments,
            String name,
            TypeInformation<T> type,
            GeneratorFunction<Long, T> generator) {
        if (arguments.text("source", "generator").equals("lean")) {
            return env.fromSource(
                    new LeanSource<>(generator), WatermarkStrategy.noWatermarks(), name, type);
        }
        return env.fromSource(
                new DataGeneratorSource<>(generator, Long.MAX_VALUE, type),
                WatermarkStrategy.noWatermarks(),
                name,
                type);
    }

    private static final class Lines implements GeneratorFunction<Long, String> {
        private final int keys;
        private final boolean longWords;
        private transient String[] table;
        private transient int next;

        Lines(int keys, boolean longWords) {
            this.keys = keys;
            this.longWords = longWords;
        }

        @Override
        public void open(SourceReaderContext context) {
            table = Words.lines(keys, longWords);
            next =
                    (int)
                            ((long) table.length
                                    * context.getIndexOfSubtask()
                                    / context.currentParallelism());
        }

        @Override
        public String map(Long index) {
            String line = table[next];
            next = next + 1 == table.length ? 0 : next + 1;
            return line;
        }
    }

    private static final class KeyedIntegers
            implements GeneratorFunction<Long, Tuple2<Long, Long>> {
        private final Tuple2<Long, Long> reused = new Tuple2<>(0L, 0L);

        @Override
        public Tuple2<Long, Long> map(Long index) {
            reused.f0 = (long) Words.SplitMix.below(Words.SplitMix.mix(index), KEYS);
            reused.f1 = index;
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
