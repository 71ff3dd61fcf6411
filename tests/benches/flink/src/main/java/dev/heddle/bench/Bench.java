package dev.heddle.bench;

import java.lang.management.ManagementFactory;
import org.apache.flink.api.common.RuntimeExecutionMode;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ExecutionOptions;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * Runs one job on Flink's own in-process cluster, as {@code heddle run} does,
 * or with {@code --remote HOST:PORT} on a cluster of processes, and prints one
 * line of JSON.
 */
public final class Bench {
    private Bench() {}

    public static void main(String[] args) throws Exception {
        Arguments arguments = new Arguments(args);
        switch (arguments.job) {
            case "word-count":
                rate(arguments, env -> StreamingJobs.wordCount(env, arguments));
                break;
            case "plain-user":
                rate(arguments, env -> StreamingJobs.plainUser(env, arguments));
                break;
            case "map-filter":
                rate(arguments, env -> StreamingJobs.mapFilter(env, arguments));
                break;
            case "keyed-reduce":
                rate(arguments, env -> StreamingJobs.keyedReduce(env, arguments));
                break;
            case "text-file":
                TextFile.run(arguments);
                break;
            case "cold-start":
                ColdStart.run(arguments);
                break;
            case "first-line":
                // For the test that both sides read the same words.
                System.out.println(
                        Words.lines(
                                arguments.integer("keys", 10_000),
                                arguments.text("words", "short").equals("long"))[0]);
                break;
            case "job-latency":
                JobLatency.run(arguments);
                break;
            case "idle":
                Idle.run();
                break;
            default:
                System.err.println("no such job: " + arguments.job);
                System.exit(2);
        }
        // Threads of the cluster may linger.
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    /** Builds an endless job; gives how many input records one counted record stands for. */
    interface Job {
        double build(StreamExecutionEnvironment env) throws Exception;
    }

    /** Records a second at the sink, over a window after the warm-up. */
    private static void rate(Arguments arguments, Job job) throws Exception {
        StreamExecutionEnvironment env = environment(arguments, RuntimeExecutionMode.STREAMING);
        double recordsPerCounted = job.build(env);
        JobClient client = env.executeAsync(arguments.job);
        sleep(arguments.number("warm-up", 10));
        Counts counts = Counts.of(arguments);
        long records = counts.total();
        long start = System.nanoTime();
        long cpu = cpuNanoseconds();
        sleep(arguments.number("window", 20));
        records = counts.total() - records;
        double seconds = (System.nanoTime() - start) / 1e9;
        double cpuSeconds = (cpuNanoseconds() - cpu) / 1e9;
        // Fails here if the job has failed meanwhile.
        if (client.getJobExecutionResult().isDone()) {
            client.getJobExecutionResult().get();
        }
        if (arguments.has("remote")) {
            client.cancel().get();
        }
        double counted = records * recordsPerCounted;
        System.out.printf(
                "{\"records\":%.0f,\"seconds\":%.6f,\"cpu_seconds\":%.3f,\"rate\":%.1f}%n",
                counted, seconds, cpuSeconds, counted / seconds);
    }

    static StreamExecutionEnvironment environment(Arguments arguments, RuntimeExecutionMode mode) {
        int parallelism = arguments.integer("parallelism", 1);
        Configuration configuration = new Configuration();
        configuration.set(ExecutionOptions.RUNTIME_MODE, mode);
        configuration.set(PipelineOptions.OBJECT_REUSE, true);
        // No record may fall back to Kryo unseen.
        configuration.set(PipelineOptions.GENERIC_TYPES, false);
        configuration.set(TaskManagerOptions.NUM_TASK_SLOTS, parallelism);
        configuration.set(TaskManagerOptions.NETWORK_MEMORY_MIN, MemorySize.ofMebiBytes(128));
        configuration.set(TaskManagerOptions.NETWORK_MEMORY_MAX, MemorySize.ofMebiBytes(128));
        // `--conf key=value,key=value` tries out other settings.
        for (String setting : arguments.text("conf", "").split(",")) {
            int equals = setting.indexOf('=');
            if (equals > 0) {
                configuration.setString(setting.substring(0, equals), setting.substring(equals + 1));
            }
        }
        if (arguments.has("remote")) {
            return remote(arguments, configuration, parallelism);
        }
        return StreamExecutionEnvironment.createLocalEnvironment(parallelism, configuration);
    }

    private static StreamExecutionEnvironment remote(
            Arguments arguments, Configuration configuration, int parallelism) {
        String[] address = arguments.text("remote").split(":");
        StreamExecutionEnvironment env =
                StreamExecutionEnvironment.createRemoteEnvironment(
                        address[0],
                        Integer.parseInt(address[1]),
                        configuration,
                        arguments.text("jar"));
        return env.setParallelism(parallelism);
    }

    private static long cpuNanoseconds() {
        return ((com.sun.management.OperatingSystemMXBean)
                        ManagementFactory.getOperatingSystemMXBean())
                .getProcessCpuTime();
    }

    private static void sleep(double seconds) throws InterruptedException {
        Thread.sleep((long) (seconds * 1000));
    }
}
