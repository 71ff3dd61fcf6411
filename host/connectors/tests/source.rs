//! The `text-files` source through its public door: which files are found,
//! how they are cut, what the reader gives.

use heddle_connectors::{SourceReader, enumerate_splits};
use heddle_filesystem::FileSystems;
use heddle_model::batch::{ColumnView, validate};
use heddle_model::element::Column;
use heddle_model::failure::Failure;
use heddle_model::plan::ConnectorSpec;
use std::fs;
use std::path::Path;

fn local() -> FileSystems {
    FileSystems::new(Default::default())
}

fn source(path: impl AsRef<Path>) -> ConnectorSpec {
    let path = path.as_ref().to_str().unwrap().to_owned();
    ConnectorSpec { name: "text-files".into(), options: vec![("path".into(), path)] }
}

/// The records of a batch, after the host's own check.
fn lines(batch: &[u8]) -> Vec<String> {
    let view = validate(batch, &[Column::Utf8]).expect("a batch of one utf8 column");
    let ColumnView::Var(column) = view.column(0) else { panic!("a column of text") };
    column.iter().map(|line| String::from_utf8(line.to_vec()).unwrap()).collect()
}

async fn read_all(spec: &ConnectorSpec, parallelism: u32) -> Vec<String> {
    let mut reader = SourceReader::open(spec, 32 * 1024, &local()).unwrap();
    let mut found = Vec::new();
    for split in enumerate_splits(spec, parallelism, &local()).unwrap() {
        reader.start(&split).await.unwrap();
        while let Some(batch) = reader.next_batch().await.unwrap() {
            found.extend(lines(&batch));
        }
    }
    found
}

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

#[tokio::test]
async fn a_file_a_folder_and_globs_are_found() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[
            ("a.txt", "a1\na2"),
            ("b.log", "b1\r\n\r\nb3\n"),
            ("sub/c.txt", "c1\n"),
            ("sub/deep/d.txt", "d1\n"),
            ("other/e.log", "e1\n"),
            ("empty.txt", ""),
            (".hidden.txt", "no\n"),
            ("_SUCCESS", "no\n"),
            (".heddle-1/part-0", "no\n"),
            ("_temporary/f.txt", "no\n"),
        ],
    );
    std::os::unix::fs::symlink(folder.path(), folder.path().join("circle")).unwrap();
    let table: &[(&str, &[&str])] = &[
        ("a.txt", &["a1", "a2"]),
        ("", &["a1", "a2", "b1", "", "b3", "e1", "c1", "d1"]),
        ("*.txt", &["a1", "a2"]),
        ("*", &["a1", "a2", "b1", "", "b3", "e1", "c1", "d1"]),
        ("s*", &["c1", "d1"]),
        ("**/*.txt", &["a1", "a2", "c1", "d1"]),
        ("sub/*.txt", &["c1"]),
        ("{sub,other}/*.{txt,log}", &["e1", "c1"]),
        ("[ab].???", &["a1", "a2", "b1", "", "b3"]),
        ("_temporary/*.txt", &["no"]),
        ("_SUCCESS", &["no"]),
        (".hid*", &["no"]),
    ];
    for (path, expected) in table {
        assert_eq!(read_all(&source(folder.path().join(path)), 2).await, *expected, "{path}");
    }
    let url = format!("file://{}", folder.path().join("a.txt").display());
    assert_eq!(read_all(&source(url), 1).await, ["a1", "a2"]);
}

#[test]
fn input_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("only/.hidden", "x")]);
    let root = folder.path().display();
    let cwd = std::env::current_dir().unwrap();
    let table = [
        (format!("{root}/none.txt"), format!("the input `{root}/none.txt` does not exist")),
        (
            "none/none.txt".to_owned(),
            format!("the input `none/none.txt` does not exist (looked for in {})", cwd.display()),
        ),
        (format!("{root}/*.csv"), format!("no file matches `{root}/*.csv`")),
        (format!("{root}/none/*.csv"), format!("no file matches `{root}/none/*.csv`")),
        (
            format!("{root}/only"),
            format!(
                "the folder `{root}/only` has no file to read (names that begin with `.` or `_` are skipped)"
            ),
        ),
        ("/dev/null".into(), "the input `/dev/null` is neither a file nor a folder".into()),
    ];
    for (path, expected) in table {
        let failure = enumerate_splits(&source(path), 1, &local()).unwrap_err();
        assert_eq!(format!("{} {}", failure.code, failure.message), format!("H1301 {expected}"));
    }
}

#[tokio::test]
async fn a_link_that_leads_nowhere_is_named_wherever_it_is_found() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("sub/a.txt", "a\n")]);
    let root = folder.path();
    let links = [("dangling", "nowhere"), ("looping", "looping")];
    for (name, target) in links {
        let link = root.join(format!("sub/{name}.log"));
        std::os::unix::fs::symlink(target, &link).unwrap();
        for input in [link.clone(), root.into(), root.join("**"), root.join("sub/*"), root.join("sub/*.log")]
        {
            let failure = enumerate_splits(&source(&input), 1, &local()).unwrap_err();
            assert_eq!(
                format!("{} {}", failure.code, failure.message),
                format!(
                    "H1301 the input `{}` is a link that leads nowhere; remove it, or mend what it names",
                    link.display()
                ),
                "{}",
                input.display()
            );
        }
        // Not asked for.
        assert_eq!(read_all(&source(root.join("**/*.txt")), 1).await, ["a"]);
        fs::rename(&link, root.join(format!("sub/_{name}"))).unwrap();
        assert_eq!(read_all(&source(root), 1).await, ["a"]);
    }
}

#[test]
fn a_file_that_hides_its_length_is_refused() {
    let (version, memory) = ("/proc/version", "/proc/self/mem");
    let failure = enumerate_splits(&source(version), 1, &local()).unwrap_err();
    assert_eq!(
        failure.message,
        "the input `/proc/version` has no length, but is not empty; copy it to a regular file first"
    );
    let failure = enumerate_splits(&source(memory), 1, &local()).unwrap_err();
    assert!(failure.message.starts_with("the input `/proc/self/mem` cannot be read: "), "{failure}");
}

/// What a reader gives when the file, of 4 MB in several splits, has become
/// `length` bytes long.
async fn read_resized(spec: &ConnectorSpec, length: u64) -> Result<Vec<String>, Failure> {
    let file = fs::OpenOptions::new().write(true).open(spec.option("path").unwrap()).unwrap();
    file.set_len(0).unwrap();
    write_lines(spec);
    let splits = enumerate_splits(spec, 1, &local()).unwrap();
    assert!(splits.len() > 1);
    file.set_len(length).unwrap();
    let mut reader = SourceReader::open(spec, 32 * 1024, &local()).unwrap();
    let mut found = Vec::new();
    for split in splits {
        reader.start(&split).await?;
        while let Some(batch) = reader.next_batch().await? {
            found.extend(lines(&batch));
        }
    }
    Ok(found)
}

fn write_lines(spec: &ConnectorSpec) {
    fs::write(spec.option("path").unwrap(), "0123456\n".repeat(500_000) + "open").unwrap();
}

#[tokio::test]
async fn input_that_became_shorter_fails_and_what_was_added_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let spec = source(folder.path().join("f"));
    write_lines(&spec);
    let cuts = [0, 1, 7, 8, (1 << 20) - 1, 1 << 20, (1 << 20) + 3, 2 << 20, 3_999_999, 4_000_000, 4_000_003];
    for cut in cuts {
        let failure = read_resized(&spec, cut).await.unwrap_err();
        assert_eq!(
            format!("{} {}", failure.code, failure.message),
            format!(
                "H1302 the input `{}/f` has {cut} bytes, but had 4000004 when the job began; \
                 a file must not become shorter while it is read",
                folder.path().display()
            )
        );
    }
    for length in [4_000_004, 4_000_005, 5_000_000] {
        let found = read_resized(&spec, length).await.unwrap();
        assert_eq!((found.len(), found.last().unwrap().as_str()), (500_001, "open"));
    }
}

#[tokio::test]
async fn a_large_file_is_read_in_splits_and_many_small_ones_together() {
    let folder = tempfile::tempdir().unwrap();
    let large: Vec<String> = (0..700_000).map(|n| format!("line {n}")).collect();
    fs::write(folder.path().join("large"), large.join("\n")).unwrap();
    for n in 0..1000 {
        fs::write(folder.path().join(format!("small-{n:04}")), format!("{n}")).unwrap();
    }
    let spec = source(folder.path());
    let splits = enumerate_splits(&spec, 2, &local()).unwrap().len();
    assert!((7..=30).contains(&splits), "{splits} splits");
    let expected: Vec<String> = large.into_iter().chain((0..1000).map(|n| n.to_string())).collect();
    assert!(read_all(&spec, 2).await == expected);
}

#[tokio::test]
async fn a_dropped_read_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let expected: Vec<String> = (0..300_000).map(|n| format!("line {n}")).collect();
    fs::write(folder.path().join("f"), expected.join("\n")).unwrap();
    let spec = source(folder.path());
    let mut reader = SourceReader::open(&spec, 32 * 1024, &local()).unwrap();
    let mut found = Vec::new();
    for split in enumerate_splits(&spec, 1, &local()).unwrap() {
        reader.start(&split).await.unwrap();
        loop {
            let batch = tokio::select! {
                biased;
                batch = reader.next_batch() => batch.unwrap(),
                () = tokio::task::yield_now() => continue,
            };
            let Some(batch) = batch else { break };
            found.extend(lines(&batch));
        }
    }
    assert!(found == expected);
}

#[tokio::test]
async fn a_file_that_goes_away_while_the_job_runs_is_a_clear_failure() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("f", "x\n")]);
    let spec = source(folder.path().join("f"));
    let split = enumerate_splits(&spec, 1, &local()).unwrap().remove(0);
    fs::remove_file(folder.path().join("f")).unwrap();
    let mut reader = SourceReader::open(&spec, 1024, &local()).unwrap();
    reader.start(&split).await.unwrap();
    let failure = reader.next_batch().await.unwrap_err();
    assert_eq!(
        format!("{} {}", failure.code, failure.message),
        format!(
            "H1302 the input `{}/f` cannot be read: No such file or directory (os error 2)",
            folder.path().display()
        )
    );
}
