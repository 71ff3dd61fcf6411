//! Text: splitting it into words, and how elements are written as text: by `print` and `write_text` as Flink
//! prints them, `(word,3)`; by `write_csv` without the parentheses.

mod words;

use std::fmt::Write;

pub use words::{ascii_words, split_whitespace};

/// A value that sinks can write as text.
///
/// Types that derive `Element` are written as JSON. To write something of
/// your own, `map` it to a `String` first, or use `write_text_with`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be written as text",
    label = "has no text form",
    note = "`map` it to a `String` first: `.map(|value| format!(…))`",
    note = "or derive `Element` for it: it is then written as JSON"
)]
pub trait Text {
    /// Appends the value.
    fn write_to(&self, out: &mut String);

    /// Appends the value as the columns of a comma-separated line.
    fn write_csv_to(&self, out: &mut String) {
        self.write_to(out);
    }
}

impl Text for str {
    fn write_to(&self, out: &mut String) {
        out.push_str(self);
    }

    fn write_csv_to(&self, out: &mut String) {
        if self.contains([',', '"', '\n', '\r']) {
            out.push('"');
            out.push_str(&self.replace('"', "\"\""));
            out.push('"');
        } else {
            out.push_str(self);
        }
    }
}

impl Text for String {
    fn write_to(&self, out: &mut String) {
        self.as_str().write_to(out);
    }

    fn write_csv_to(&self, out: &mut String) {
        self.as_str().write_csv_to(out);
    }
}

impl<T: Text + ?Sized> Text for &T {
    fn write_to(&self, out: &mut String) {
        (**self).write_to(out);
    }

    fn write_csv_to(&self, out: &mut String) {
        (**self).write_csv_to(out);
    }
}

/// The digits of all numbers below 100, two each.
static PAIRS: [u8; 200] = pairs();

const fn pairs() -> [u8; 200] {
    let mut pairs = [0; 200];
    let mut n = 0;
    while n < 100 {
        pairs[2 * n] = b'0' + (n / 10) as u8;
        pairs[2 * n + 1] = b'0' + (n % 10) as u8;
        n += 1;
    }
    pairs
}

/// Appends a number; `core::fmt` takes several times as long.
fn write_number(mut number: u64, negative: bool, out: &mut String) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    while number >= 100 {
        let pair = (number % 100) as usize * 2;
        number /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    let pair = number as usize * 2;
    if number >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        digits[at] = PAIRS[pair + 1];
    }
    if negative {
        out.push('-');
    }
    out.push_str(std::str::from_utf8(&digits[at..]).expect("digits"));
}

macro_rules! unsigned {
    ($($type:ty)*) => {
        $(impl Text for $type {
            fn write_to(&self, out: &mut String) {
                write_number(*self as u64, false, out);
            }
        })*
    };
}

macro_rules! signed {
    ($($type:ty)*) => {
        $(impl Text for $type {
            fn write_to(&self, out: &mut String) {
                write_number(self.unsigned_abs() as u64, *self < 0, out);
            }
        })*
    };
}

macro_rules! displayed {
    ($($type:ty)*) => {
        $(impl Text for $type {
            fn write_to(&self, out: &mut String) {
                write!(out, "{self}").expect("a string takes everything");
            }
        })*
    };
}

unsigned!(u8 u16 u32 u64 usize);
signed!(i8 i16 i32 i64 isize);
displayed!(f32 f64 bool char);

impl Text for () {
    fn write_to(&self, out: &mut String) {
        out.push_str("()");
    }
}

impl<T: Text> Text for Option<T> {
    fn write_to(&self, out: &mut String) {
        match self {
            Some(value) => value.write_to(out),
            None => out.push_str("null"),
        }
    }

    fn write_csv_to(&self, out: &mut String) {
        if let Some(value) = self {
            value.write_csv_to(out);
        }
    }
}

impl<T: Text> Text for [T] {
    fn write_to(&self, out: &mut String) {
        out.push('[');
        for (index, value) in self.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            value.write_to(out);
        }
        out.push(']');
    }
}

impl<T: Text> Text for Vec<T> {
    fn write_to(&self, out: &mut String) {
        self.as_slice().write_to(out);
    }
}

macro_rules! tuple {
    ($($name:ident $index:tt),+) => {
        impl<$($name: Text),+> Text for ($($name,)+) {
            fn write_to(&self, out: &mut String) {
                out.push('(');
                $(
                    if $index > 0 {
                        out.push(',');
                    }
                    self.$index.write_to(out);
                )+
                out.push(')');
            }

            fn write_csv_to(&self, out: &mut String) {
                $(
                    if $index > 0 {
                        out.push(',');
                    }
                    self.$index.write_csv_to(out);
                )+
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: impl Text) -> String {
        let mut out = String::new();
        value.write_to(&mut out);
        out
    }

    #[test]
    fn numbers_read_as_rust_prints_them() {
        for n in [0u64, 7, 10, 99, 100, 12_345, 1 << 40, u64::MAX] {
            assert_eq!(text(n), n.to_string());
        }
        for n in [0i64, -1, -10, 55, i64::MIN, i64::MAX] {
            assert_eq!(text(n), n.to_string());
        }
    }

    #[test]
    fn tuples_as_flink_prints_them_and_as_csv() {
        assert_eq!(text(("a", 1, Some(2.5), None::<u8>)), "(a,1,2.5,null)");
        let mut line = String::new();
        (String::from("say \"a,b\""), (1, 2), None::<u8>).write_csv_to(&mut line);
        assert_eq!(line, "\"say \"\"a,b\"\"\",1,2,");
    }
}
