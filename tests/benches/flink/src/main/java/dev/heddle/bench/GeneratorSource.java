package dev.heddle.bench;

import java.io.Serializable;
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
import org.apache.flink.core.io.InputStatus;
import org.apache.flink.core.io.SimpleVersionedSerializer;

/**
 * An endless source that calls user code for each element and does nothing
 * else: no splits, no state. Measured against DataGeneratorSource and faster.
 */
final class GeneratorSource<T> implements Source<T, GeneratorSource.NoSplit, Void> {
    /** Makes the elements of one subtask. */
    interface Generator<T> {
        T next();
    }

    /** Makes the generator of a subtask. */
    interface Factory<T> extends Serializable {
        Generator<T> open(int subtask, int parallelism);
    }

    private final Factory<T> factory;

    GeneratorSource(Factory<T> factory) {
        this.factory = factory;
    }

    @Override
    public Boundedness getBoundedness() {
        return Boundedness.CONTINUOUS_UNBOUNDED;
    }

    @Override
    public SourceReader<T, NoSplit> createReader(SourceReaderContext context) {
        return new Reader<>(
                factory.open(context.getIndexOfSubtask(), context.currentParallelism()));
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
        private final Generator<T> generator;

        Reader(Generator<T> generator) {
            this.generator = generator;
        }

        @Override
        public void start() {}

        @Override
        public InputStatus pollNext(ReaderOutput<T> output) {
            output.collect(generator.next());
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
