package dev.heddle.bench;

import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.apache.flink.api.connector.source.Boundedness;
import org.apache.flink.api.connector.source.ReaderOutput;
import org.apache.flink.api.connector.source.Source;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.connector.source.SourceSplit;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.connector.datagen.source.GeneratorFunction;
import org.apache.flink.core.io.InputStatus;
import org.apache.flink.core.io.SimpleVersionedSerializer;

/**
 * An endless source that calls a generator function for each element and does
 * nothing else: no splits, no state, no rate limit. Hardly anyone would write
 * it, but it shows what Flink's own DataGeneratorSource costs.
 */
final class LeanSource<T> implements Source<T, LeanSource.NoSplit, Void> {
    private final GeneratorFunction<Long, T> generator;

    LeanSource(GeneratorFunction<Long, T> generator) {
        this.generator = generator;
    }

    @Override
    public Boundedness getBoundedness() {
        return Boundedness.CONTINUOUS_UNBOUNDED;
    }

    @Override
    public SourceReader<T, NoSplit> createReader(SourceReaderContext context) {
        return new Reader<>(generator, context);
    }

    @Override
    public SplitEnumerator<NoSplit, Void> createEnumerator(SplitEnumeratorContext<NoSplit> context) {
        return new Enumerator();
    }

    @Override
    public SplitEnumerator<NoSplit, Void> restoreEnumerator(
            SplitEnumeratorContext<NoSplit> context, Void checkpoint) {
        return new Enumerator();
    }

    @Override
    public SimpleVersionedSerializer<NoSplit> getSplitSerializer() {
        return new Nothing<>();
    }

    @Override
    public SimpleVersionedSerializer<Void> getEnumeratorCheckpointSerializer() {
        return new Nothing<>();
    }

    static final class NoSplit implements SourceSplit {
        @Override
        public String splitId() {
            return "";
        }
    }

    private static final class Reader<T> implements SourceReader<T, NoSplit> {
        private static final CompletableFuture<Void> AVAILABLE =
                CompletableFuture.completedFuture(null);
        private final GeneratorFunction<Long, T> generator;
        private final SourceReaderContext context;
        private final long step;
        private long next;

        Reader(GeneratorFunction<Long, T> generator, SourceReaderContext context) {
            this.generator = generator;
            this.context = context;
            next = context.getIndexOfSubtask();
            step = context.currentParallelism();
        }

        @Override
        public void start() {
            try {
                generator.open(context);
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        }

        @Override
        public InputStatus pollNext(ReaderOutput<T> output) throws Exception {
            output.collect(generator.map(next));
            next += step;
            return InputStatus.MORE_AVAILABLE;
        }

        @Override
        public List<NoSplit> snapshotState(long checkpointId) {
            return Collections.emptyList();
        }

        @Override
        public CompletableFuture<Void> isAvailable() {
            return AVAILABLE;
        }

        @Override
        public void addSplits(List<NoSplit> splits) {}

        @Override
        public void notifyNoMoreSplits() {}

        @Override
        public void close() {}
    }

    private static final class Enumerator implements SplitEnumerator<NoSplit, Void> {
        @Override
        public void start() {}

        @Override
        public void handleSplitRequest(int subtask, String host) {}

        @Override
        public void addSplitsBack(List<NoSplit> splits, int subtask) {}

        @Override
        public void addReader(int subtask) {}

        @Override
        public Void snapshotState(long checkpointId) {
            return null;
        }

        @Override
        public void close() {}
    }

    private static final class Nothing<E> implements SimpleVersionedSerializer<E> {
        @Override
        public int getVersion() {
            return 0;
        }

        @Override
        public byte[] serialize(E value) {
            return new byte[0];
        }

        @Override
        public E deserialize(int version, byte[] serialized) {
            return null;
        }
    }
}
