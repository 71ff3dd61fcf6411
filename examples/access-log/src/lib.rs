//! Reads web server logs in the common log format; counts requests by status
//! and by the first part of the path; lines of another form go to a side
//! output.

use heddle::prelude::*;
use serde::{Deserialize, Serialize};

/// What a line says of one request; views into the line, nothing is copied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Element)]
pub struct Request<'a> {
    pub host: &'a str,
    pub method: &'a str,
    pub path: &'a str,
    pub status: u16,
    pub bytes: Option<u64>,
}

#[heddle::main]
pub fn main(env: &mut StreamExecutionEnvironment, args: Args) -> heddle::Result<()> {
    let (input, output) = (args.required("input")?, args.required("output")?);
    args.deny_unknown()?;
    env.set_job_name("Access Log");

    let malformed = OutputTag::<Str>::new("malformed");
    let tag = OutputTag::<Str>::new("malformed");
    let requests = env
        .read_text(input)
        .name("log")
        .process_with::<Request>(move |line, ctx, out| match parse(line) {
            Some(request) => out.collect(request),
            None => ctx.output(&tag, line),
        })
        .name("parse");

    requests.side_output(&malformed).write_text(format!("{output}/malformed"));
    requests
        .key_by::<u16>(|request| request.status)
        .count()
        .name("by status")
        .write_csv(format!("{output}/by-status"));
    requests
        .key_by::<Str>(|request| prefix(request.path))
        .count()
        .name("by prefix")
        .write_csv(format!("{output}/by-prefix"));
    Ok(())
}

/// `host ident user [time] "method path protocol" status bytes`, see
/// <https://httpd.apache.org/docs/current/logs.html#common>.
pub fn parse(line: &str) -> Option<Request<'_>> {
    let (host, rest) = line.split_once(' ')?;
    let (before, rest) = rest.split_once(" [")?;
    if before.split(' ').count() != 2 {
        return None;
    }
    let (_time, rest) = rest.split_once("] \"")?;
    let (request, rest) = rest.split_once("\" ")?;
    let mut parts = request.split(' ');
    let (method, path, protocol) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !protocol.starts_with("HTTP/") {
        return None;
    }
    let (status, bytes) = rest.split_once(' ')?;
    let status = status.parse().ok().filter(|status| (100..600).contains(status))?;
    let bytes = if bytes == "-" { None } else { Some(bytes.parse().ok()?) };
    Some(Request { host, method, path, status, bytes })
}

/// `/shop` of `/shop/item?id=1`; `/` of `/`.
fn prefix(path: &str) -> &str {
    let rest = path.strip_prefix('/').unwrap_or(path);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    &path[..path.len() - rest.len() + end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let line = r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326"#;
        let expected = Request {
            host: "127.0.0.1",
            method: "GET",
            path: "/apache_pb.gif",
            status: 200,
            bytes: Some(2326),
        };
        assert_eq!(parse(line), Some(expected));
        for malformed in ["", "x", r#"h - - [t] "GET / HTTP/1.0" 99 1"#, r#"h - - [t] "GET /" 200 1"#] {
            assert_eq!(parse(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn the_prefix_is_the_first_part_of_the_path() {
        let cases =
            [("/", "/"), ("/shop", "/shop"), ("/shop/a", "/shop"), ("/shop?id=1", "/shop"), ("*", "*")];
        for (path, expected) in cases {
            assert_eq!(prefix(path), expected);
        }
    }
}
