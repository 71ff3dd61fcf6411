//! The name under which a process speaks to Hadoop.

use crate::hadoop::Environment;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// `HADOOP_USER_NAME`, or the owner of this process.
pub fn name(environment: &Environment) -> String {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
    set("HADOOP_USER_NAME").or_else(owner).or_else(|| set("USER")).unwrap_or_else(|| "unknown".to_owned())
}

fn owner() -> Option<String> {
    let id = fs::metadata("/proc/self").ok()?.uid();
    of_id(&fs::read_to_string("/etc/passwd").ok()?, id)
}

/// `name:password:id:…`, a line each.
fn of_id(passwd: &str, id: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::{name, of_id};
    use crate::hadoop::Environment;

    #[test]
    fn the_name_that_is_set_wins() {
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let environment = Environment::from([set("HADOOP_USER_NAME", "bob"), set("USER", "alice")]);
        assert_eq!(name(&environment), "bob");
    }

    #[test]
    fn a_name_is_found_by_its_id() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbob:x:1000:1000::/home/bob:/bin/sh\n";
        assert_eq!(of_id(passwd, 1000).as_deref(), Some("bob"));
        assert_eq!(of_id(passwd, 7), None);
    }
}
