package dev.heddle.bench;

import org.apache.flink.api.common.RuntimeExecutionMode;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * Prints each record as it reaches the sink, one a line. The harness takes
 * the time from the start of the process to the first line.
 */
final class ColdStart {
    private ColdStart() {}

    static void run(Arguments arguments) throws Exception {
        StreamExecutionEnvironment env =
                Bench.environment(arguments, RuntimeExecutionMode.STREAMING);
        env.fromSequence(0, 9)
                .keyBy(value -> value, Types.LONG)
                .reduce(Long::sum)
                .sinkTo(new PrintLines());
        env.execute("cold-start");
    }

    private static final class PrintLines implements Sink<Long> {
        @Override
        public SinkWriter<Long> createWriter(WriterInitContext context) {
            return new SinkWriter<>() {
                @Override
                public void write(Long element, Context context) {
                    System.out.println(element);
                    System.out.flush();
                }

                @Override
                public void flush(boolean endOfInput) {}

                @Override
                public void close() {}
            };
        }
    }
}
