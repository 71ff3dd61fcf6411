package dev.heddle.bench;

import java.io.IOException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;

/**
 * Discards every element and counts it in a plain field that only its own
 * subtask writes (an opaque store, no fence). The harness reads the sum from
 * another thread.
 */
final class CountingSink<T> implements Sink<T> {
    private static final List<Writer<?>> WRITERS = new CopyOnWriteArrayList<>();

    /** Elements that reached the sink so far, over all subtasks. */
    static long total() {
        long sum = 0;
        for (Writer<?> writer : WRITERS) {
            sum += writer.read();
        }
        return sum;
    }

    /** A folder that the process of the sink shows its count in, or null. */
    private final String folder;

    CountingSink(Arguments arguments) {
        folder = arguments.text("counts", null);
    }

    @Override
    public SinkWriter<T> createWriter(WriterInitContext context) throws IOException {
        Writer<T> writer = new Writer<>();
        WRITERS.add(writer);
        if (folder != null) {
            Counts.show(folder);
        }
        return writer;
    }

    private static final class Writer<T> implements SinkWriter<T> {
        private static final VarHandle COUNT;

        static {
            try {
                COUNT = MethodHandles.lookup().findVarHandle(Writer.class, "count", long.class);
            } catch (ReflectiveOperationException e) {
                throw new ExceptionInInitializerError(e);
            }
        }

        @SuppressWarnings("unused") // keeps two subtasks' counts off one cache line
        private long p1, p2, p3, p4, p5, p6, p7;

        private long count;

        @SuppressWarnings("unused")
        private long q1, q2, q3, q4, q5, q6, q7;

        @Override
        public void write(T element, Context context) {
            COUNT.setOpaque(this, count + 1);
        }

        long read() {
            return (long) COUNT.getOpaque(this);
        }

        @Override
        public void flush(boolean endOfInput) {}

        @Override
        public void close() {}
    }
}
