//! The sinks through their public door: what shows and when, what is left
//! behind, what is refused, and that every step may be repeated.

use bytes::Bytes;
use heddle_connectors::{Console, Reservation, SinkWriter, discard_sink, prepare_sink, publish_sink};
use heddle_filesystem::FileSystems;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{ExecutionAttemptId, JobId, VertexId};
use heddle_model::plan::{ConnectorSpec, TransformationId};
use heddle_model::task::Committable;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

const JOB: JobId = JobId(5);

fn local() -> FileSystems {
    FileSystems::new(Default::default())
}

#[derive(Default)]
struct Recorder(Mutex<String>);

impl Console for Recorder {
    fn write(&self, lines: &str) -> std::io::Result<()> {
        self.0.lock().unwrap().push_str(lines);
        Ok(())
    }
}

fn spec(name: &str, options: &[(&str, &str)]) -> ConnectorSpec {
    let options = options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    ConnectorSpec { name: name.into(), options }
}

fn files(path: &Path) -> ConnectorSpec {
    spec("text-files", &[("path", path.to_str().unwrap())])
}

fn overwriting(path: &Path) -> ConnectorSpec {
    spec("text-files", &[("path", path.to_str().unwrap()), ("overwrite", "true")])
}

/// A batch of one `utf8` column, as `proto/batch.md` has it.
fn batch(lines: &[&str]) -> Bytes {
    let rows = lines.len() as u32;
    let text = lines.concat();
    let length = text.len() as u32;
    let mut batch = Vec::new();
    for word in [0x3142_4448, rows, 0, 1, 40 + 4 * rows + length + 16, 0, 40, 4 * rows, 40 + 4 * rows, length]
    {
        batch.extend(u32::to_le_bytes(word));
    }
    let mut end = 0;
    for line in lines {
        end += line.len() as u32;
        batch.extend(end.to_le_bytes());
    }
    batch.extend(text.bytes());
    batch.extend([0; 16]);
    Bytes::from(batch)
}

async fn open(
    sink: &ConnectorSpec,
    id: TransformationId,
    subtask: u32,
    attempt: u32,
) -> Result<SinkWriter, Failure> {
    let attempt = ExecutionAttemptId { job_id: JOB, vertex_id: VertexId(1), subtask, attempt };
    SinkWriter::open(sink, id, 2, attempt, Arc::new(Recorder::default()), &local()).await
}

async fn write(
    sink: &ConnectorSpec,
    id: TransformationId,
    subtask: u32,
    attempt: u32,
    lines: &[&str],
) -> Committable {
    let mut writer = open(sink, id, subtask, attempt).await.unwrap();
    if !lines.is_empty() {
        writer.write(&batch(lines)).await.unwrap();
    }
    writer.finish().await.unwrap()
}

/// Names and contents of a folder, hidden ones too.
fn listing(folder: &Path) -> Vec<(String, String)> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let content = fs::read_to_string(entry.path()).unwrap_or_else(|_| "a folder".into());
            (entry.file_name().into_string().unwrap(), content)
        })
        .collect();
    found.sort();
    found
}

fn show(found: &[(&str, &str)]) -> Vec<(String, String)> {
    found.iter().map(|(name, content)| (name.to_string(), content.to_string())).collect()
}

#[tokio::test]
async fn nothing_shows_before_the_job_has_finished() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("deep/out");
    let sink = files(&out);
    prepare_sink(&sink, JOB, &local()).unwrap();
    prepare_sink(&sink, JOB, &local()).unwrap();
    // The first attempt failed half-way.
    let mut failed = open(&sink, 4, 0, 0).await.unwrap();
    failed.write(&batch(&["wrong"])).await.unwrap();
    drop(failed);
    let committables = [
        write(&sink, 4, 0, 1, &["a", "", "ä"]).await,
        write(&sink, 4, 1, 1, &["b"]).await,
        write(&sink, 4, 2, 1, &[]).await,
    ];
    assert_eq!(listing(&out), show(&[(&format!(".heddle-{JOB}"), "a folder")]));
    let expected = show(&[("part-00000-4", "a\n\nä\n"), ("part-00001-4", "b\n")]);
    for _ in 0..3 {
        publish_sink(&sink, JOB, &committables, &local()).unwrap();
        assert_eq!(listing(&out), expected);
    }
    discard_sink(&sink, JOB, &local()).unwrap();
    assert_eq!(listing(&out), expected);
}

#[tokio::test]
async fn a_discarded_job_leaves_no_trace() {
    let root = tempfile::tempdir().unwrap();
    let made = root.path().join("a/b");
    let kept = root.path().join("kept");
    fs::create_dir(&kept).unwrap();
    for out in [&made, &kept] {
        let sink = files(out);
        discard_sink(&sink, JOB, &local()).unwrap();
        prepare_sink(&sink, JOB, &local()).unwrap();
        write(&sink, 1, 0, 0, &["x"]).await;
        discard_sink(&sink, JOB, &local()).unwrap();
        discard_sink(&sink, JOB, &local()).unwrap();
    }
    assert_eq!(listing(root.path()), show(&[("kept", "a folder")]));
    assert_eq!(listing(&kept), []);
}

#[tokio::test]
async fn output_is_refused_where_it_cannot_go() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    fs::write(root.join("file"), "x").unwrap();
    fs::create_dir(root.join("full")).unwrap();
    fs::write(root.join("full/data"), "x").unwrap();
    fs::create_dir(root.join("marked")).unwrap();
    fs::write(root.join("marked/_SUCCESS"), "").unwrap();
    let shown = root.display();
    let table = [
        (root.join("file"), format!("the output `{shown}/file` is a file; it must be a folder")),
        (
            root.join("file/below"),
            format!("the output folder `{shown}/file/below` cannot be written: Not a directory (os error 20)"),
        ),
        (
            root.join("full"),
            format!(
                "the output folder `{shown}/full` is not empty; choose another or empty it (a job may allow to replace what is there, by its sink's option `overwrite`)"
            ),
        ),
        (
            "/proc/heddle".into(),
            "the output folder `/proc/heddle` cannot be written: No such file or directory (os error 2)".into(),
        ),
        (
            "/proc/self".into(),
            "the output folder `/proc/self` is not empty; choose another or empty it (a job may allow to replace what is there, by its sink's option `overwrite`)"
                .into(),
        ),
    ];
    for (path, expected) in table {
        let failure = prepare_sink(&files(&path), JOB, &local()).unwrap_err();
        assert_eq!((failure.code, failure.message), (ErrorCode::ConnectorInvalid, expected));
    }
    let failure = prepare_sink(&overwriting(Path::new("/proc/self")), JOB, &local()).unwrap_err();
    assert!(failure.message.starts_with("the output folder `/proc/self` cannot be written: "), "{failure}");
    prepare_sink(&files(&root.join("marked")), JOB, &local()).unwrap();
    prepare_sink(&overwriting(&root.join("full")), JOB, &local()).unwrap();
}

#[tokio::test]
async fn overwriting_replaces_part_files_at_the_end_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path();
    let old =
        [("part-00000-4", "old"), ("part-00007-4", "old"), ("part-00000-5", "old"), ("notes.txt", "mine")];
    for (name, content) in old {
        fs::write(out.join(name), content).unwrap();
    }
    let sink = overwriting(out);
    prepare_sink(&sink, JOB, &local()).unwrap();
    let first = [write(&sink, 4, 0, 0, &["new"]).await];
    let second = [write(&sink, 5, 0, 0, &["other"]).await];
    let visible = |out: &Path| -> Vec<_> {
        listing(out).into_iter().filter(|(name, _)| !name.starts_with('.')).collect()
    };
    let mut before = show(&old);
    before.sort();
    assert_eq!(visible(out), before);
    // Two sinks of the job share the folder; each may publish again.
    publish_sink(&sink, JOB, &first, &local()).unwrap();
    publish_sink(&sink, JOB, &second, &local()).unwrap();
    publish_sink(&sink, JOB, &first, &local()).unwrap();
    let expected = show(&[("notes.txt", "mine"), ("part-00000-4", "new\n"), ("part-00000-5", "other\n")]);
    assert_eq!(listing(out), expected);
}

#[tokio::test]
async fn publishing_goes_on_where_it_stopped() {
    let root = tempfile::tempdir().unwrap();
    let sink = files(root.path());
    prepare_sink(&sink, JOB, &local()).unwrap();
    let committables = [write(&sink, 1, 0, 0, &["a"]).await, write(&sink, 1, 1, 0, &["b"]).await];
    // Something is in the way of the second file.
    let obstacle = root.path().join("part-00001-1");
    fs::create_dir(&obstacle).unwrap();
    let failure = publish_sink(&sink, JOB, &committables, &local()).unwrap_err();
    assert_eq!(failure.code, ErrorCode::ConnectorIo);
    assert!(failure.message.contains("`part-00001-1` was put there while the job ran"), "{failure}");
    fs::remove_dir(&obstacle).unwrap();
    publish_sink(&sink, JOB, &committables, &local()).unwrap();
    assert_eq!(listing(root.path()), show(&[("part-00000-1", "a\n"), ("part-00001-1", "b\n")]));
    fs::remove_file(root.path().join("part-00000-1")).unwrap();
    let failure = publish_sink(&sink, JOB, &committables, &local()).unwrap_err();
    assert!(failure.message.ends_with("the file of subtask 0 is missing"), "{failure}");
}

fn of_job(job: JobId, sink: &ConnectorSpec) -> Reservation {
    prepare_sink(sink, job, &local()).unwrap()
}

/// The file that a subtask left for publication.
async fn write_of(job: JobId, sink: &ConnectorSpec, subtask: u32, line: &str) -> Committable {
    let attempt = ExecutionAttemptId { job_id: job, vertex_id: VertexId(1), subtask, attempt: 0 };
    let console = Arc::new(Recorder::default());
    let mut writer = SinkWriter::open(sink, 1, 2, attempt, console, &local()).await.unwrap();
    writer.write(&batch(&[line])).await.unwrap();
    writer.finish().await.unwrap()
}

#[tokio::test]
async fn a_folder_takes_one_job_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    for sink in [files(&root.path().join("new")), overwriting(&root.path().join("old"))] {
        let running = of_job(JOB, &sink);
        let output = [write_of(JOB, &sink, 0, "mine").await];
        let failure = prepare_sink(&sink, JobId(6), &local()).unwrap_err();
        let path = sink.option("path").unwrap();
        let expected = format!(
            "the output folder `{path}` is being written by job {JOB}; choose another, or wait for its end"
        );
        assert_eq!((failure.code, failure.message), (ErrorCode::ConnectorInvalid, expected));
        publish_sink(&sink, JOB, &output, &local()).unwrap();
        drop(running);
        assert_eq!(listing(Path::new(path)), show(&[("part-00000-1", "mine\n")]));
    }
    // Then another job may replace it.
    let sink = overwriting(&root.path().join("old"));
    let _running = of_job(JobId(6), &sink);
    let output = [write_of(JobId(6), &sink, 0, "theirs").await];
    publish_sink(&sink, JobId(6), &output, &local()).unwrap();
    assert_eq!(listing(&root.path().join("old")), show(&[("part-00000-1", "theirs\n")]));
}

#[tokio::test]
async fn of_many_jobs_that_begin_at_once_one_gets_the_folder() {
    let root = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let sink = files(&root.path().join(round.to_string()));
        let begun: Vec<_> = std::thread::scope(|scope| {
            let jobs: Vec<_> = (1..5)
                .map(|job| {
                    scope.spawn({
                        let sink = &sink;
                        move || prepare_sink(sink, JobId(job), &local())
                    })
                })
                .collect();
            jobs.into_iter().map(|job| job.join().unwrap()).collect()
        });
        assert_eq!(begun.iter().filter(|begun| begun.is_ok()).count(), 1, "{begun:?}");
    }
}

/// Where a lock does not keep them apart: on HDFS, or of machines without one.
#[tokio::test]
async fn of_two_jobs_that_publish_into_a_folder_one_fails() {
    let root = tempfile::tempdir().unwrap();
    let other = JobId(6);
    for (name, is_overwriting) in [("new", false), ("old", true)] {
        let out = root.path().join(name);
        fs::create_dir(&out).unwrap();
        let sink = if is_overwriting { overwriting(&out) } else { files(&out) };
        if is_overwriting {
            fs::write(out.join("part-00000-1"), "old").unwrap();
        }
        for job in [JOB, other] {
            drop(of_job(job, &sink));
            // As if nobody could lock it.
            fs::remove_file(out.join(format!(".heddle-{job}/lock"))).unwrap();
        }
        let theirs = [write_of(other, &sink, 0, "theirs!").await];
        let apart = [write_of(other, &sink, 1, "where the first has nothing").await];
        let mine = [write_of(JOB, &sink, 0, "mine").await];
        publish_sink(&sink, JOB, &mine, &local()).unwrap();
        for theirs in [apart, theirs] {
            let failure = publish_sink(&sink, other, &theirs, &local()).unwrap_err();
            let name = "`part-00000-1` was put there while the job ran, by another job perhaps";
            let expected = format!("the output in `{}` cannot be published: {name}", out.display());
            assert_eq!(failure.message, expected);
        }
        discard_sink(&sink, other, &local()).unwrap();
        assert_eq!(listing(&out), show(&[("part-00000-1", "mine\n")]));
    }
}

#[tokio::test]
async fn what_a_killed_job_left_goes_with_the_next() {
    let root = tempfile::tempdir().unwrap();
    let sink = files(root.path());
    let left = |job: JobId| root.path().join(format!(".heddle-{job}"));
    // Killed while it ran: the lock goes with the process.
    drop(of_job(JobId(1), &sink));
    // Killed while it published: its next leader may go on.
    drop(of_job(JobId(2), &sink));
    fs::write(left(JobId(2)).join("prepared.json"), r#"{"created":0,"replaced":{},"publishing":true}"#)
        .unwrap();
    // No lock tells, or what is there is none.
    fs::create_dir(left(JobId(3))).unwrap();
    fs::create_dir(left(JobId(4))).unwrap();
    std::os::unix::fs::symlink("/dev/null", left(JobId(4)).join("lock")).unwrap();
    let _running = of_job(JOB, &sink);
    let there: Vec<_> = [1, 2, 3, 4, 5].into_iter().filter(|job| left(JobId(*job)).exists()).collect();
    assert_eq!(there, [2, 3, 4, 5]);
}

#[tokio::test]
async fn a_job_that_is_taken_over_keeps_its_folder() {
    let root = tempfile::tempdir().unwrap();
    let sink = files(root.path());
    let deposed = of_job(JOB, &sink);
    let leads = of_job(JOB, &sink);
    drop(deposed);
    assert!(prepare_sink(&sink, JobId(6), &local()).is_err());
    drop(leads);
    drop(of_job(JobId(6), &sink));
}

#[tokio::test]
async fn a_worker_that_does_not_see_the_folder_says_so() {
    let root = tempfile::tempdir().unwrap();
    let failure = open(&files(&root.path().join("none")), 1, 0, 0).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::ConnectorIo);
    assert!(failure.message.contains("must see the same file system"), "{failure}");
}

#[tokio::test]
async fn large_output_is_written_in_order() {
    let root = tempfile::tempdir().unwrap();
    let sink = files(root.path());
    prepare_sink(&sink, JOB, &local()).unwrap();
    let mut writer = open(&sink, 1, 0, 0).await.unwrap();
    let mut expected = String::new();
    for number in 0..500 {
        let line = format!("{number}").repeat(2000);
        writer.write(&batch(&[&line, &line])).await.unwrap();
        expected += &format!("{line}\n{line}\n");
    }
    let committable = writer.finish().await.unwrap();
    publish_sink(&sink, JOB, &[committable], &local()).unwrap();
    assert!(fs::read_to_string(root.path().join("part-00000-1")).unwrap() == expected);
}

#[tokio::test]
async fn a_full_disk_fails_the_writer_with_the_path() {
    let root = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "heddle-test"])
        .arg(root.path())
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        eprintln!("skipped: this test needs the right to mount a tmpfs");
        return;
    }
    let sink = files(root.path());
    prepare_sink(&sink, JOB, &local()).unwrap();
    let mut writer = open(&sink, 1, 0, 0).await.unwrap();
    let line = "x".repeat(100_000);
    let mut written = Ok(());
    for _ in 0..30 {
        written = writer.write(&batch(&[&line])).await;
        if written.is_err() {
            break;
        }
    }
    let failure = written.unwrap_err();
    drop(writer);
    discard_sink(&sink, JOB, &local()).unwrap();
    let left = listing(root.path());
    let unmounted = std::process::Command::new("umount").arg(root.path()).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    assert_eq!(failure.code, ErrorCode::ConnectorIo);
    let path = root.path().join(format!(".heddle-{JOB}/part-1-00000-attempt-0"));
    assert_eq!(
        failure.message,
        format!("the output `{}` cannot be written: No space left on device (os error 28)", path.display())
    );
    assert_eq!(left, []);
}

#[tokio::test]
async fn print_has_the_prefix_of_flink() {
    for (options, parallelism, expected) in [
        (&[][..], 1, "a\nb\n"),
        (&[][..], 4, "3> a\n3> b\n"),
        (&[("prefix", "out")][..], 1, "out> a\nout> b\n"),
        (&[("prefix", "out")][..], 4, "out:3> a\nout:3> b\n"),
    ] {
        let console = Arc::new(Recorder::default());
        let sink = spec("print", options);
        let attempt = ExecutionAttemptId { job_id: JOB, vertex_id: VertexId(1), subtask: 2, attempt: 0 };
        let mut writer =
            SinkWriter::open(&sink, 1, parallelism, attempt, console.clone(), &local()).await.unwrap();
        writer.write(&batch(&["a", "b"])).await.unwrap();
        let committable = writer.finish().await.unwrap();
        assert_eq!(publish_sink(&sink, JOB, &[committable], &local()).unwrap().collected, None);
        assert_eq!(*console.0.lock().unwrap(), expected);
    }
}

#[tokio::test]
async fn collect_gives_the_lines_in_the_order_of_subtasks() {
    let sink = spec("collect", &[("name", "totals")]);
    prepare_sink(&sink, JOB, &local()).unwrap();
    let committables = [write(&sink, 1, 1, 0, &["c"]).await, write(&sink, 1, 0, 0, &["a", "b"]).await];
    let published = publish_sink(&sink, JOB, &committables, &local()).unwrap();
    let lines = ["a", "b", "c"].map(str::to_owned).to_vec();
    assert_eq!(published.collected, Some(("totals".to_owned(), lines)));
}

#[tokio::test]
async fn collect_is_bounded() {
    let sink = spec("collect", &[]);
    let line = "x".repeat(1 << 20);
    let mut writer = open(&sink, 1, 0, 0).await.unwrap();
    let mut accepted = 0;
    let failure = loop {
        match writer.write(&batch(&[&line])).await {
            Ok(()) => accepted += 1,
            Err(failure) => break failure,
        }
    };
    assert_eq!(accepted, 15);
    assert_eq!(
        failure.message,
        "the `collect` sink `collect` gathered more than 16 MiB; write so much output to files (`text-files`)"
    );
    // Together, too.
    let half = ["x".repeat(9 << 20)];
    let half = [half[0].as_str()];
    let committables = [write(&sink, 1, 0, 0, &half).await, write(&sink, 1, 1, 0, &half).await];
    assert!(publish_sink(&sink, JOB, &committables, &local()).is_err());
}
