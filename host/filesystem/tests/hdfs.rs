//! The trait on a real HDFS: `HEDDLE_TEST_YARN` names the folder of its
//! configuration. `cargo xtask test` starts the servers; `cargo xtask servers
//! up yarn` does so by hand.

use heddle_filesystem::hadoop::Environment;
use heddle_filesystem::{CreateOptions, FileSystem, FileSystems, Kind, is_unavailable};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Runs a test on a folder of its own, on a thread that may block; skipped,
/// loudly, if there are no servers.
async fn on_hdfs(name: &'static str, test: impl FnOnce(Arc<dyn FileSystem>, PathBuf) + Send + 'static) {
    let Some(conf) = std::env::var_os("HEDDLE_TEST_YARN") else {
        eprintln!("SKIPPED: HEDDLE_TEST_YARN names no real HDFS; `cargo xtask servers up yarn` starts one");
        return;
    };
    let conf = conf.to_string_lossy().into_owned();
    let work = move || {
        let address = format!("hdfs:///tests/{name}");
        let (system, folder) = as_user(&conf, None).resolve(Path::new(&address)).unwrap();
        let _ = system.remove_all(&folder);
        system.create_folders(&folder, None).unwrap();
        test(Arc::clone(&system), folder.clone());
        system.remove_all(&folder).unwrap();
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

fn as_user(conf: &str, user: Option<&str>) -> FileSystems {
    let mut environment = Environment::from([("HADOOP_CONF_DIR".to_owned(), conf.to_owned())]);
    environment.extend(user.map(|user| ("HADOOP_USER_NAME".to_owned(), user.to_owned())));
    FileSystems::new(environment)
}

/// Differs everywhere.
fn content(bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8).collect()
}

#[tokio::test]
async fn files_in_blocks_are_read_wherever_a_reader_looks() {
    on_hdfs("blocks", |system, folder| {
        let file = folder.join("file");
        let content = content((3 << 20) + 12_345);
        let options = CreateOptions { block_bytes: Some(1 << 20), ..CreateOptions::default() };
        let mut writer = system.create(&file, &options).unwrap();
        for part in content.chunks(700_001) {
            writer.write_all(part).unwrap();
        }
        writer.finish().unwrap();
        let status = system.status(&file).unwrap();
        assert_eq!((status.kind, status.length), (Kind::File, content.len() as u64));
        assert_eq!(status.block_bytes, 1 << 20);
        assert_eq!(system.read(&file).unwrap(), content);
        let mut reader = system.open(&file).unwrap();
        let mut buffer = vec![0; 300_000];
        for position in
            [0, 300_000, 1, (1 << 20) - 1, 1 << 20, 5, 3_100_000, content.len(), content.len() + 9]
        {
            let read = reader.read_at(&mut buffer, position as u64).unwrap();
            let expected = &content[position.min(content.len())..];
            assert_eq!(buffer[..read], expected[..expected.len().min(buffer.len())], "at {position}");
        }
    })
    .await;
}

#[tokio::test]
async fn errors_have_the_kinds_of_a_local_file_system() {
    on_hdfs("kinds", |system, folder| {
        let kind = |result: std::io::Result<()>| result.unwrap_err().kind();
        let missing = folder.join("missing");
        assert_eq!(kind(system.status(&missing).map(|_| ())), ErrorKind::NotFound);
        assert_eq!(kind(system.open(&missing).map(|_| ())), ErrorKind::NotFound);
        assert_eq!(kind(system.names(&missing).map(|_| ())), ErrorKind::NotFound);
        assert_eq!(kind(system.remove_file(&missing)), ErrorKind::NotFound);
        assert_eq!(kind(system.remove_all(&missing)), ErrorKind::NotFound);
        assert_eq!(kind(system.rename(&missing, &folder.join("other"))), ErrorKind::NotFound);
        assert_eq!(
            kind(system.create(&missing.join("file"), &CreateOptions::default()).map(|_| ())),
            ErrorKind::NotFound
        );
        system.write(&folder.join("file"), b"x", &CreateOptions::default()).unwrap();
        assert_eq!(kind(system.remove_folder(&folder)), ErrorKind::DirectoryNotEmpty);
        assert!(!system.exists(&missing).unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_rename_replaces_a_file_and_a_walk_finds_all() {
    on_hdfs("walk", |system, folder| {
        let write = |name: &str, text: &str| {
            let file = folder.join(name);
            system.create_folders(file.parent().unwrap(), None).unwrap();
            system.write(&file, text.as_bytes(), &CreateOptions::default()).unwrap();
        };
        for (name, text) in [("a", "one"), ("b", "two"), ("sub/c", "x"), ("sub/_d", "x"), ("_sub/e", "x")] {
            write(name, text);
        }
        system.rename(&folder.join("b"), &folder.join("a")).unwrap();
        assert_eq!(system.read(&folder.join("a")).unwrap(), b"two");
        // Or does not, if so wanted.
        write("b", "three");
        let refused = system.rename_new(&folder.join("b"), &folder.join("a")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{refused}");
        assert_eq!(system.read(&folder.join("a")).unwrap(), b"two");
        system.remove_file(&folder.join("a")).unwrap();
        system.rename_new(&folder.join("b"), &folder.join("a")).unwrap();
        assert_eq!(system.read(&folder.join("a")).unwrap(), b"three");
        let wanted = |name: &std::ffi::OsStr| !name.to_string_lossy().starts_with('_');
        let mut found: Vec<PathBuf> =
            system.walk(&folder, &wanted).unwrap().into_iter().map(|(path, _)| path).collect();
        found.sort();
        assert_eq!(found, [folder.join("a"), folder.join("sub/c")]);
        let mut names = system.names(&folder).unwrap();
        names.sort();
        assert_eq!(names, ["_sub", "a", "sub"]);
    })
    .await;
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    on_hdfs("denied", |system, folder| {
        let own = folder.join("own");
        system.create_folders(&own, Some(0o700)).unwrap();
        let conf = std::env::var("HEDDLE_TEST_YARN").unwrap();
        let address = format!("{}{}/file", system.root(), own.display());
        let (other, file) = as_user(&conf, Some("mallory")).resolve(Path::new(&address)).unwrap();
        let error = other.create(&file, &CreateOptions::default()).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        let text = error.to_string();
        assert!(text.contains("user=mallory") && !text.contains('\n'), "{text}");
    })
    .await;
}

#[tokio::test]
async fn nobody_at_the_address_is_told_so() {
    let looked = tokio::task::spawn_blocking(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("hdfs://{}/a", listener.local_addr().unwrap());
        drop(listener);
        let systems = FileSystems::new(Environment::new());
        let (system, path) = systems.resolve(Path::new(&address)).unwrap();
        (system.root().to_owned(), system.status(&path).unwrap_err())
    });
    let (root, error) = looked.await.unwrap();
    assert!(is_unavailable(&error), "{error:?}");
    assert!(error.to_string().starts_with(&format!("{root} does not answer (")), "{error}");
}
