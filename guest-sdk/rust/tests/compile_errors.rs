//! The obvious mistakes give errors that say what to do.

#[test]
fn obvious_mistakes() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
