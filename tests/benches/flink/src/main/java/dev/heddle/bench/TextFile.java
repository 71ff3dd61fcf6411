package dev.heddle.bench;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import org.apache.flink.api.common.RuntimeExecutionMode;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.serialization.SimpleStringEncoder;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.connector.file.sink.FileSink;
import org.apache.flink.connector.file.src.FileSource;
import org.apache.flink.connector.file.src.reader.TextLineInputFormat;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.Collector;

/**
 * Counts the words of a folder of text in BATCH mode and writes lines
 * {@code word,count}. A word is a run of ASCII letters and digits; upper case
 * counts as lower case. The same as examples/word-count.
 */
final class TextFile {
    private TextFile() {}

    static void run(Arguments arguments) throws Exception {
        Path output = Path.of(arguments.text("output"));
        Files.createDirectories(output);
        long start = System.nanoTime();
        StreamExecutionEnvironment env =
                Bench.environment(arguments, RuntimeExecutionMode.BATCH);
        FileSource<String> source =
                FileSource.forRecordStreamFormat(
                                new TextLineInputFormat(),
                                new org.apache.flink.core.fs.Path(arguments.text("input")))
                        .build();
        env.fromSource(source, WatermarkStrategy.noWatermarks(), "text", Types.STRING)
                .flatMap(new Tokenizer())
                .keyBy(count -> count.f0, Types.STRING)
                .reduce(
                        (a, b) -> {
                            a.f1 += b.f1;
                            return a;
                        })
                .map(count -> count.f0 + "," + count.f1)
                .returns(Types.STRING)
                .sinkTo(
                        FileSink.<String>forRowFormat(
                                        new org.apache.flink.core.fs.Path(output.toUri()),
                                        new SimpleStringEncoder<>())
                                .build());
        env.execute("text-file");
        System.out.printf("{\"seconds\":%.6f}%n", (System.nanoTime() - start) / 1e9);
    }

    private static final class Tokenizer implements FlatMapFunction<String, Tuple2<String, Long>> {
        private final Tuple2<String, Long> reused = new Tuple2<>(null, 1L);

        @Override
        public void flatMap(String line, Collector<Tuple2<String, Long>> out) {
            String lower = line.toLowerCase(Locale.ROOT);
            int length = lower.length();
            int at = 0;
            while (at < length) {
                if (!inWord(lower.charAt(at))) {
                    at++;
                    continue;
                }
                int start = at;
                do {
                    at++;
                } while (at < length && inWord(lower.charAt(at)));
                reused.f0 = lower.substring(start, at);
                reused.f1 = 1L;
                out.collect(reused);
            }
        }

        private static boolean inWord(char c) {
            return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        }
    }
}
