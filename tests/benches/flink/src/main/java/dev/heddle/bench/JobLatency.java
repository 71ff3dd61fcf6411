package dev.heddle.bench;

import java.util.Arrays;
import org.apache.flink.api.common.RuntimeExecutionMode;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;

/**
 * Submits a job of nearly no work to a running cluster, again and again from one
 * client, and waits until it is FINISHED. Milliseconds, the first runs left out.
 */
final class JobLatency {
    private JobLatency() {}

    static void run(Arguments arguments) throws Exception {
        int warmUp = arguments.integer("warm-up-runs", 10);
        double[] times = new double[arguments.integer("runs", 30)];
        for (int i = -warmUp; i < times.length; i++) {
            long start = System.nanoTime();
            StreamExecutionEnvironment env =
                    Bench.environment(arguments, RuntimeExecutionMode.STREAMING);
            env.fromSequence(0, 9).sinkTo(new DiscardingSink<>());
            env.execute("job-latency");
            if (i >= 0) {
                times[i] = (System.nanoTime() - start) / 1e6;
            }
        }
        Arrays.sort(times);
        System.out.printf("{\"p50_ms\":%.3f,\"runs\":%d}%n", times[times.length / 2], times.length);
    }
}
