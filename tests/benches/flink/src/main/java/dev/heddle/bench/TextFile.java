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
 * {@code word,count}. Words are runs of letters and digits, lower-cased.
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
            int length = line.length();
            int at = 0;
            while (at < length) {
                int point = line.codePointAt(at);
                if (!inWord(point)) {
                    at += Character.charCount(point);
                    continue;
                }
                int start = at;
                do {
                    at += Character.charCount(point);
                    if (at >= length) {
                        break;
                    }
                    point = line.codePointAt(at);
                } while (inWord(point));
                reused.f0 = line.substring(start, at).toLowerCase(Locale.ROOT);
                reused.f1 = 1L;
                out.collect(reused);
            }
        }

        /** The same set as Rust's char::is_alphanumeric. */
        private static boolean inWord(int point) {
            if (point < 128) {
                return (point >= 'a' && point <= 'z')
                        || (point >= 'A' && point <= 'Z')
                        || (point >= '0' && point <= '9');
            }
            if (Character.isAlphabetic(point)) {
                return true;
            }
            int type = Character.getType(point);
            return type == Character.DECIMAL_DIGIT_NUMBER
                    || type == Character.LETTER_NUMBER
                    || type == Character.OTHER_NUMBER;
        }
    }
}
