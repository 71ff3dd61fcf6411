//! The form of a stored file: a line that tells what it is and the checksum of
//! the rest, then readable JSON. Pure.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Grows when an older version could not read what is written.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    heddle: String,
    format: u32,
    sha256: String,
}

fn checksum(body: &str) -> String {
    Sha256::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `kind`: what it is, `job graph`.
pub(super) fn encode<T: Serialize>(kind: &str, content: &T) -> Result<String, String> {
    let mut body = serde_json::to_string_pretty(content).map_err(|error| error.to_string())?;
    body.push('\n');
    let header = Header { heddle: kind.to_owned(), format: FORMAT, sha256: checksum(&body) };
    let header = serde_json::to_string(&header).map_err(|error| error.to_string())?;
    Ok(format!("{header}\n{body}"))
}

/// Gives the content, or what is wrong with the file.
pub(super) fn decode<T: DeserializeOwned>(kind: &str, bytes: &[u8]) -> Result<T, String> {
    if bytes.is_empty() {
        return Err("it is empty".into());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let (header, body) = text.split_once('\n').ok_or("it ends within its first line")?;
    let header: Header =
        serde_json::from_str(header).map_err(|error| format!("its first line cannot be read: {error}"))?;
    if header.heddle != kind {
        return Err(format!("it is a `{}`, not a `{kind}`", header.heddle));
    }
    if header.format != FORMAT {
        return Err(format!("it is of format {}; this version reads format {FORMAT}", header.format));
    }
    let actual = checksum(body);
    if actual != header.sha256 {
        return Err(format!("its checksum is {actual}, and should be {}", header.sha256));
    }
    serde_json::from_str(body).map_err(|error| format!("its content cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn it_is_readable_and_read_back() {
        let text = encode("list", &[1, 2]).unwrap();
        expect![[r#"
            {"heddle":"list","format":1,"sha256":"7970da714a88ff04cb7e10fba378231199dd7f8879ba411dd6e65b57b58a9d23"}
            [
              1,
              2
            ]
        "#]]
        .assert_eq(&text);
        assert_eq!(decode::<Vec<u32>>("list", text.as_bytes()), Ok(vec![1, 2]));
    }

    #[test]
    fn whatever_is_wrong_is_told() {
        let good = encode("list", &[1, 2]).unwrap();
        let wrong: Vec<String> = [
            String::new(),
            "\0\0\0\0".into(),
            good[..good.len() - 3].into(),
            good[..20].into(),
            good.replace('2', "3"),
            good.replace("\"format\":1", "\"format\":9"),
            encode("other", &[1, 2]).unwrap(),
            encode("list", &["a"]).unwrap(),
        ]
        .iter()
        .map(|text| decode::<Vec<u32>>("list", text.as_bytes()).unwrap_err())
        .collect();
        expect![[r#"
            it is empty
            it ends within its first line
            its checksum is df67555130cb77ac5346f4b870599532dd20b7f3f8eb0448a06cbbcea8dff922, and should be 7970da714a88ff04cb7e10fba378231199dd7f8879ba411dd6e65b57b58a9d23
            it ends within its first line
            its first line cannot be read: missing field `sha256` at line 1 column 104
            it is of format 9; this version reads format 1
            it is a `other`, not a `list`
            its content cannot be read: invalid type: string "a", expected u32 at line 2 column 5"#]].assert_eq(&wrong.join("\n"));
        assert_eq!(decode::<Vec<u32>>("list", &[0xff, 0xfe]), Err("it is not text".into()));
    }
}
