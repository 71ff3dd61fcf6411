package dev.heddle.bench;

import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/** A job whose cluster is YARN's: {@code flink run -t yarn-application}. */
public final class OnYarn {
    private OnYarn() {}

    public static void main(String[] args) throws Exception {
        Arguments arguments = new Arguments(args);
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment();
        env.setParallelism(1);
        env.getConfig().enableObjectReuse();
        if (arguments.job.equals("word-count")) {
            StreamingJobs.wordCount(env, arguments);
        } else {
            env.fromSequence(0, 9).keyBy(value -> value, Types.LONG).reduce(Long::sum).print();
        }
        env.execute(arguments.job);
    }
}
