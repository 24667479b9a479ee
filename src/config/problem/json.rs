//! Problems for programs: editors and build servers.

use serde_json::{Value, json};

use super::{Place, Problem, Problems};

impl Problems {
    /// The listed problems as a JSON array, one entry a line. An entry has `level` (`error` or `warning`), `file`,
    /// `line`, `column`, `end_line`, `end_column`, `message` and `remedy`. Lines and columns are numbers from 1, columns count
    /// characters, the end is the first character behind; all four are null for a problem without a place, such
    /// as a file that cannot be read.
    pub fn to_json(&self) -> String {
        let entries: Vec<String> = self.iter().map(|problem| self.entry(problem).to_string()).collect();
        match entries.as_slice() {
            [] => "[]".to_owned(),
            entries => format!("[\n{}\n]", entries.join(",\n")),
        }
    }

    fn entry(&self, problem: &Problem) -> Value {
        let Problem { place, message, remedy } = problem;
        let end = Place { source: place.source, span: place.span.end..place.span.end };
        let number = |number: usize| Some(number).filter(|number| *number > 0);
        let (line, column) = self.sources.line_column(place);
        let (end_line, end_column) = self.sources.line_column(&end);
        json!({
            "level": self.severity.label(),
            "file": self.sources.name(place).or(self.sources.first_name()),
            "line": number(line),
            "column": number(column),
            "end_line": number(end_line),
            "end_column": number(end_column),
            "message": message,
            "remedy": remedy,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn entries_say_where_what_and_what_to_do() {
        let mut sources = Sources::default();
        sources.add("a.toml", "");
        let source = Some(sources.add("b.toml", "µ = [\n  \"x\",\r\n]\n"));
        let mut problems = Problems::new(sources);
        problems.push(Place { source, span: 5..16 }, "this is \"wrong\"", "write that");
        problems.push(Place { source, span: 9..12 }, "this, too", "write this");
        problems.push(Place::default(), "nowhere", "look");
        let expected = r#"[
{"level":"error","file":"a.toml","line":null,"column":null,"end_line":null,"end_column":null,"message":"nowhere","remedy":"look"},
{"level":"error","file":"b.toml","line":1,"column":5,"end_line":3,"end_column":2,"message":"this is \"wrong\"","remedy":"write that"},
{"level":"error","file":"b.toml","line":2,"column":3,"end_line":2,"end_column":6,"message":"this, too","remedy":"write this"}
]"#;
        assert_eq!(problems.to_json(), expected);
        assert_eq!(Problems::default().to_json(), "[]");
    }
}
