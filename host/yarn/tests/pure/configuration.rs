//! Hadoop's files, as its users write them.

use expect_test::{Expect, expect};
use heddle_yarn::configuration::{self, Configuration, Environment, Service};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

fn files(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let head = "<?xml version=\"1.0\"?>\n<?xml-stylesheet type=\"text/xsl\" href=\"configuration.xsl\"?>";
        fs::write(file, format!("{head}\n<configuration>\n{content}\n</configuration>\n")).unwrap();
    }
    folder
}

fn property(name: &str, value: &str) -> String {
    format!("<property><name>{name}</name><value>{value}</value></property>\n")
}

fn environment(pairs: &[(&str, &Path)]) -> Environment {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.display().to_string())).collect()
}

fn load(yarn_site: &str) -> Configuration {
    let folder = files(&[("yarn-site.xml", yarn_site)]);
    configuration::load(&environment(&[("HADOOP_CONF_DIR", folder.path())])).unwrap()
}

fn check_error(folder: &TempDir, expected: Expect) {
    let error = configuration::load(&environment(&[("HADOOP_CONF_DIR", folder.path())])).unwrap_err();
    expected.assert_eq(&error.to_string().replace(&folder.path().display().to_string(), "CONF"));
}

#[test]
fn each_file_comes_from_the_first_folder_that_has_it() {
    let hadoop = files(&[("core-site.xml", &property("fs.defaultFS", "hdfs://a"))]);
    let yarn = files(&[
        ("core-site.xml", &property("fs.defaultFS", "hdfs://b")),
        ("yarn-site.xml", &property("yarn.resourcemanager.hostname", "rm")),
    ]);
    let environment = environment(&[("HADOOP_CONF_DIR", hadoop.path()), ("YARN_CONF_DIR", yarn.path())]);
    let configuration = configuration::load(&environment).unwrap();
    assert_eq!(configuration.get("fs.defaultFS").as_deref(), Some("hdfs://a"));
    // By its old name too.
    assert_eq!(configuration.get("fs.default.name").as_deref(), Some("hdfs://a"));
    assert_eq!(configuration.get("yarn.resourcemanager.hostname").as_deref(), Some("rm"));
    assert_eq!(configuration.files().len(), 2);
}

#[test]
fn where_nothing_is_the_error_says_what_was_looked_for_and_where() {
    let error = configuration::load(&Environment::new()).unwrap_err();
    expect![[r#"no Hadoop configuration: looked for yarn-site.xml in $HADOOP_CONF_DIR (not set), $YARN_CONF_DIR (not set), $HADOOP_HOME (not set); set HADOOP_CONF_DIR to the folder that has it"#]]
        .assert_eq(&error.to_string());
    check_error(
        &files(&[("core-site.xml", "")]),
        expect![[
            r#"no Hadoop configuration: looked for yarn-site.xml in CONF (HADOOP_CONF_DIR), $YARN_CONF_DIR (not set), $HADOOP_HOME (not set); set HADOOP_CONF_DIR to the folder that has it"#
        ]],
    );
}

#[test]
fn files_are_included_and_have_fallbacks() {
    let include = |href: &str, inner: &str| {
        format!(
            "<xi:include xmlns:xi=\"http://www.w3.org/2001/XInclude\" href=\"{href}\">{inner}</xi:include>"
        )
    };
    let fallback = format!("<xi:fallback>{}</xi:fallback>", property("c", "3"));
    let yarn =
        format!("{}{}{}", include("more/a.xml", ""), include("absent.xml", &fallback), property("a", "9"));
    let folder = files(&[
        ("yarn-site.xml", &yarn),
        ("more/a.xml", &format!("{}{}", property("a", "1"), include("b.xml", ""))),
        ("more/b.xml", &property("b", "2")),
    ]);
    let configuration = configuration::load(&environment(&[("HADOOP_CONF_DIR", folder.path())])).unwrap();
    let values: Vec<_> = ["a", "b", "c"].iter().map(|key| configuration.get(key).unwrap()).collect();
    assert_eq!(values, ["9", "2", "3"]);
}

#[test]
fn broken_files_are_named_with_their_line() {
    check_error(
        &files(&[("yarn-site.xml", "<property><name>a</name>")]),
        expect!["CONF/yarn-site.xml:5: expected 'property' tag, not 'configuration' at 5:1"],
    );
    check_error(
        &files(&[("yarn-site.xml", "<property><value>a</value></property>")]),
        expect!["CONF/yarn-site.xml:4: a property without a name"],
    );
    let include = "<include xmlns=\"http://www.w3.org/2001/XInclude\" href=\"";
    check_error(
        &files(&[("yarn-site.xml", &format!("{include}other.xml\"/>"))]),
        expect!["CONF/yarn-site.xml:4: the included file CONF/other.xml does not exist"],
    );
    check_error(
        &files(&[("yarn-site.xml", &format!("{include}yarn-site.xml\"/>"))]),
        expect!["CONF/yarn-site.xml:4: more than 16 files include each other"],
    );
    check_error(
        &files(&[("yarn-site.xml", &format!("{include}http://h/a.xml\"/>"))]),
        expect!["CONF/yarn-site.xml:4: `http://h/a.xml` is not a file of this machine"],
    );
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("yarn-site.xml"), "<other/>").unwrap();
    check_error(&folder, expect!["CONF/yarn-site.xml:1: the root element is not <configuration>"]);
}

#[test]
fn a_cluster_that_wants_kerberos_is_told_before_it_is_called() {
    let files = |way: &str| {
        files(&[("core-site.xml", &property("hadoop.security.authentication", way)), ("yarn-site.xml", "")])
    };
    check_error(
        &files("kerberos"),
        expect![
            "`hadoop.security.authentication` is `simple` where Heddle is used, which has no Kerberos yet, not `kerberos` (CONF/core-site.xml)"
        ],
    );
    let folder = files("SIMPLE");
    configuration::load(&environment(&[("HADOOP_CONF_DIR", folder.path())])).unwrap();
}

#[test]
fn final_values_stay() {
    let core = "<property><name>a</name><value>1</value><final>true</final></property>";
    let folder =
        files(&[("core-site.xml", core), ("yarn-site.xml", &(property("a", "2") + &property("b", "${a}")))]);
    let configuration = configuration::load(&environment(&[("HADOOP_CONF_DIR", folder.path())])).unwrap();
    assert_eq!(configuration.get("a").as_deref(), Some("1"));
    assert_eq!(configuration.get("b").as_deref(), Some("1"));
}

#[test]
fn variables_are_replaced() {
    let folder = files(&[(
        "yarn-site.xml",
        &[
            ("host", "rm"),
            ("address", "${host}:${port.${kind}}"),
            ("kind", "web"),
            ("port.web", "8088"),
            ("self", "x${self}"),
            ("none", "${nobody}"),
            ("home", "${env.WHERE}/${env.EMPTY:-default}/${env.EMPTY-kept}/${env.UNSET-unset}"),
            ("user", "${user.name}"),
        ]
        .map(|(name, value)| property(name, value))
        .concat(),
    )]);
    let mut environment = environment(&[("HADOOP_CONF_DIR", folder.path()), ("WHERE", Path::new("here"))]);
    environment.insert("EMPTY".to_owned(), String::new());
    environment.insert("USER".to_owned(), "bob".to_owned());
    let configuration = configuration::load(&environment).unwrap();
    let get = |key: &str| configuration.get(key).unwrap();
    assert_eq!(get("address"), "rm:8088");
    assert_eq!(get("none"), "${nobody}");
    assert_eq!(get("home"), "here/default//unset");
    assert_eq!(get("user"), "bob");
    // It ends.
    assert!(get("self").starts_with('x'));
}

#[test]
fn values_have_types() {
    let configuration = load(
        &[
            ("yes", "TRUE"),
            ("no", "maybe"),
            ("time", "5m"),
            ("millis", "250"),
            ("count", "7"),
            ("list", " a, b ,,"),
        ]
        .map(|(name, value)| property(name, value))
        .concat(),
    );
    assert!(configuration.bool("yes", false).unwrap());
    assert!(configuration.bool("absent", true).unwrap());
    assert_eq!(configuration.duration("time", Duration::ZERO).unwrap(), Duration::from_secs(300));
    assert_eq!(configuration.duration("millis", Duration::ZERO).unwrap(), Duration::from_millis(250));
    assert_eq!(configuration.int("count", 0).unwrap(), 7);
    assert_eq!(configuration.list("list"), ["a", "b"]);
    let error = configuration.bool("no", false).unwrap_err().to_string();
    assert!(
        error.starts_with("`no` is true or false, not `maybe` (/") && error.ends_with("/yarn-site.xml)"),
        "{error}"
    );
    assert!(configuration.int("yes", 0).unwrap_err().to_string().contains("a whole number"));
    assert!(configuration.duration("yes", Duration::ZERO).is_err());
}

#[test]
fn resource_managers_are_found() {
    let servers = |properties: &[(&str, &str)], service| {
        let text: String = properties.iter().map(|(name, value)| property(name, value)).collect();
        let servers = configuration::resource_managers(&load(&text), service);
        servers.map(|servers| servers.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let host = ("yarn.resourcemanager.hostname", "rm");
    assert_eq!(servers(&[host], Service::Applications).unwrap(), ["rm:8032"]);
    assert_eq!(servers(&[host], Service::Masters).unwrap(), ["rm:8030"]);
    let own = ("yarn.resourcemanager.address", "${yarn.resourcemanager.hostname}:1");
    assert_eq!(servers(&[host, own], Service::Applications).unwrap(), ["rm:1"]);
    let high = [
        ("yarn.resourcemanager.ha.enabled", "true"),
        ("yarn.resourcemanager.ha.rm-ids", "rm1, rm2"),
        ("yarn.resourcemanager.hostname.rm1", "a"),
        ("yarn.resourcemanager.address.rm2", "b:7"),
    ];
    assert_eq!(servers(&high, Service::Applications).unwrap(), ["a:8032", "b:7"]);
    let error = servers(&high, Service::Masters).unwrap_err().to_string();
    assert_eq!(
        error,
        "`yarn.resourcemanager.hostname.rm2` must be set: \
         `yarn.resourcemanager.scheduler.address.rm2` is not set either; one of them says where the ResourceManager is"
    );
    let error = servers(&high[..1], Service::Masters).unwrap_err().to_string();
    assert!(error.contains("names no ResourceManager"), "{error}");
    let error = servers(&[("yarn.resourcemanager.address", "rm:x")], Service::Applications).unwrap_err();
    assert!(error.to_string().contains("is an address `host:port`, not `rm:x`"), "{error}");
}
