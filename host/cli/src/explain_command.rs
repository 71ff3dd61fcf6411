//! `heddle explain`: the page of an error, or the list of all.

use crate::arguments::ExplainArguments;
use crate::screen::print;
use heddle_model::failure::{ErrorCode, Failure};
use std::process::ExitCode;

pub fn run(arguments: &ExplainArguments) -> Result<ExitCode, Failure> {
    let text = match &arguments.code {
        None => ErrorCode::ALL.iter().map(|code| format!("{}\n", title(*code))).collect(),
        Some(text) => {
            let code = ErrorCode::from_text(&text.trim().to_ascii_uppercase()).ok_or_else(|| {
                let message =
                    format!("`{text}` is not the code of an error; `heddle explain` lists all of them");
                Failure::new(ErrorCode::ConfigurationInvalid, message)
            })?;
            code.page().to_owned()
        }
    };
    print(&text).map(|()| ExitCode::SUCCESS)
}

/// `H1301: a source or sink cannot be used as asked`.
fn title(code: ErrorCode) -> &'static str {
    code.page().lines().next().unwrap_or_default().trim_start_matches("# ")
}
