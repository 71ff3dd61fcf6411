package dev.heddle.bench;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

/** Reads how many elements reached the sinks, wherever they run. */
interface Counts {
    long total() throws IOException;

    static Counts of(Arguments arguments) {
        String folder = arguments.text("counts", null);
        return folder == null ? CountingSink::total : () -> shown(Path.of(folder));
    }

    /** The sum of what all processes show. */
    private static long shown(Path folder) throws IOException {
        long sum = 0;
        try (DirectoryStream<Path> files = Files.newDirectoryStream(folder, "*.count")) {
            for (Path file : files) {
                sum += ByteBuffer.wrap(Files.readAllBytes(file)).getLong();
            }
        }
        return sum;
    }

    /** Shows the count of this process from now on, anew every 20 ms. */
    static void show(String folder) throws IOException {
        if (Shown.started) {
            return;
        }
        Shown.started = true;
        Path part = Path.of(folder, ProcessHandle.current().pid() + ".part");
        Path file = Path.of(folder, ProcessHandle.current().pid() + ".count");
        Thread thread =
                new Thread(
                        () -> {
                            try {
                                while (true) {
                                    byte[] bytes =
                                            ByteBuffer.allocate(8).putLong(CountingSink.total()).array();
                                    Files.write(part, bytes);
                                    Files.move(part, file, StandardCopyOption.ATOMIC_MOVE);
                                    Thread.sleep(20);
                                }
                            } catch (IOException | InterruptedException e) {
                                // The run is over.
                            }
                        },
                        "counts");
        thread.setDaemon(true);
        thread.start();
    }

    /** Whether this process shows its count. */
    final class Shown {
        private static volatile boolean started;

        private Shown() {}
    }
}
