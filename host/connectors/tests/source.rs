//! The `text-files` source through its public door: which files are found,
//! how they are cut, what the reader gives.

use heddle_connectors::{SourceReader, enumerate_splits};
use heddle_filesystem::FileSystems;
use heddle_model::batch::{ColumnView, validate};
use heddle_model::element::Column;
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
    std::os::unix::fs::symlink("nowhere", folder.path().join("dangling.txt")).unwrap();
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
