//! No text makes the configuration panic, or fail without a reason.

use proptest::prelude::*;

use super::{FULL, parse};

/// Pieces of TOML.
const PIECES: &str =
    r#"([a-z]{1,2}|[a-z]\.[a-z]|\[a\]|\[\[b\]\]|=|\[|\]|\{|\}|,|"|'|1|0x|"s"|\n| |\.|#|µ){0,60}"#;
/// What may come to stand after a `=`.
const VALUE: &str = r#"("(?s)[^"\\\n]{0,20}"|-?[0-9]{1,30}|\[\]|\{\}|true|1\.5|[a-z:/.*\[\]]{1,12})"#;
/// What may come to stand anywhere.
const PIECE: &str = r#"[\[\]{}=",.a-z0-9\n ]{0,6}"#;

proptest! {
    #[test]
    fn any_text_is_answered(text in "(?s).{0,200}") {
        answered(&text);
    }

    #[test]
    fn any_toml_is_answered(text in PIECES) {
        answered(&text);
    }

    /// A file with a piece taken out and another put in its place.
    #[test]
    fn any_edit_is_answered(start in 0..FULL.len(), length in 0..400_usize, piece in PIECE) {
        let start = FULL.floor_char_boundary(start);
        let end = FULL.ceil_char_boundary(start + length);
        answered(&[&FULL[..start], &piece, &FULL[end..]].concat());
    }

    /// A value of the full example replaced by another.
    #[test]
    fn any_value_is_answered(line in 0..FULL.lines().count(), value in VALUE) {
        let changed = |(index, text): (usize, &str)| match text.split_once(" = ") {
            Some((key, _)) if index == line => format!("{key} = {value}\n"),
            _ => format!("{text}\n"),
        };
        answered(&FULL.lines().enumerate().map(changed).collect::<String>());
    }
}

/// It means something, or says what is wrong; and the answer can be shown.
fn answered(text: &str) {
    if let Err(problems) = parse(text) {
        assert!(!problems.is_empty());
        assert!(!problems.render(true).is_empty());
        for problem in &problems {
            assert_ne!(problem.message, "");
            assert_ne!(problem.remedy, "");
            assert_ne!(problems.sources().line_column(&problem.place), (0, 0));
        }
    }
}
