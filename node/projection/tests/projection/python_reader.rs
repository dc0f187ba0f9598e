//! Another LanceDB client, in another process and language, reads the table while it is written.
//!
//! The client is the `lancedb` package of PyPI in a virtual environment that `scripts/python-reader.sh` makes; its folder is taken from
//! `NODESPACE_PYTHON`, or is `.cache/nodespace/python` in the home folder. Without it the test says so and passes.

#![expect(clippy::print_stderr, reason = "whoever reads the test's output has to know which client was tested, or that none was")]

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use nodespace_projection::{Projection, Row};
use serde_json::{Value, json};

use crate::support::*;

const NOW: Duration = Duration::ZERO;

/// Answers one JSON question a line; every question goes to the newest version.
const SCRIPT: &str = r#"
import json, sys
import lancedb

connection = lancedb.connect(sys.argv[1])
assert connection.list_tables().tables == ["nodes"], connection.list_tables()
table = connection.open_table("nodes")

def ids(query):
    return [row["id"] for row in query.to_list()]

def answer(question):
    kind = question["kind"]
    if kind == "count":
        return table.count_rows()
    if kind == "rows":
        columns = ["id", "type", "content", "metadata", "parent_id", "modified_at", "mentions", "deleted", "embedding"]
        rows = table.search().select(columns).to_list()
        for row in rows:
            row["modified_at"] = int(row["modified_at"].timestamp() * 1_000_000)
        return rows
    if kind == "text":
        return ids(table.search(question["text"], query_type="fts").limit(10))
    if kind == "vector":
        return ids(table.search(question["vector"], vector_column_name="embedding").distance_type("cosine").limit(10))
    if kind == "filter":
        return sorted(ids(table.search().where(question["where"])))
    raise ValueError(kind)

print(json.dumps(lancedb.__version__), flush=True)
for line in sys.stdin:
    table.checkout_latest()
    print(json.dumps(answer(json.loads(line))), flush=True)
"#;

/// A Python process that answers questions about a folder.
struct Python {
    process: Child,
    questions: ChildStdin,
    answers: std::io::Lines<BufReader<ChildStdout>>,
}

impl Python {
    fn start(program: &PathBuf, folder: &std::path::Path) -> Self {
        let mut command = Command::new(program);
        command.args(["-c", SCRIPT]).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let questions = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut python = Self { process, questions, answers };
        eprintln!("reading with lancedb {} for Python", python.read());
        python
    }

    fn read(&mut self) -> Value {
        let line = self.answers.next().expect("Python stopped; its error is above").unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn ask(&mut self, question: Value) -> Value {
        writeln!(self.questions, "{question}").unwrap();
        self.read()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The Python that has the package, if there is one.
fn program() -> Option<PathBuf> {
    let given = env::var_os("NODESPACE_PYTHON").map(PathBuf::from);
    let folder = given.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache/nodespace/python")))?;
    let program = folder.join("bin/python");
    let has_package =
        Command::new(&program).args(["-c", "import lancedb"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !has_package {
        eprintln!("not tested: {} has no lancedb package; run scripts/python-reader.sh", program.display());
    }
    has_package.then_some(program)
}

/// The row as Python shows it.
fn as_python_sees(row: &Row) -> Value {
    json!({
        "id": row.id, "type": row.node_type, "content": row.content, "parent_id": row.parent_id, "modified_at": row.modified_at,
        "mentions": row.mentions, "deleted": row.deleted, "metadata": row.metadata,
    })
}

fn check_rows(seen: Value, expected: &[Row]) {
    let mut seen = seen.as_array().unwrap().clone();
    seen.sort_by_key(|row| row["id"].as_str().unwrap().to_owned());
    assert_eq!(seen.len(), expected.len());
    for (number, (mut seen, row)) in seen.into_iter().zip(expected).enumerate() {
        let embedding: Vec<f32> = serde_json::from_value(seen.as_object_mut().unwrap().remove("embedding").unwrap()).unwrap();
        assert_eq!(embedding, vector(number as u64));
        seen["metadata"] = serde_json::from_str(seen["metadata"].as_str().unwrap()).unwrap();
        assert_eq!(seen, as_python_sees(row));
    }
}

fn check_searches(python: &mut Python, numbers: &[u64]) {
    for number in numbers.iter().copied() {
        assert_eq!(python.ask(json!({"kind": "text", "text": format!("unique{number}")})), json!([id(number)]));
        assert_eq!(python.ask(json!({"kind": "vector", "vector": vector(number)}))[0], json!(id(number)));
        let one = json!({"kind": "filter", "where": format!("array_has(metadata_terms, 'number={number}')")});
        assert_eq!(python.ask(one), json!([id(number)]));
        assert_eq!(
            python.ask(json!({"kind": "filter", "where": format!("id = '{}' AND type = 'task'", id(number - number % 3))})),
            json!([id(number - number % 3)])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn python_sees_every_node_while_they_are_written() {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut projection: Projection = new(folder.path()).await;
    let mut python = Python::start(&program, folder.path());
    assert_eq!(python.ask(json!({"kind": "count"})), json!(0));
    let rows: Vec<_> = (0..450).map(full_row).collect();
    for (batch, rows) in rows.chunks(90).enumerate() {
        projection.apply(upserts(rows.to_vec()), batch as u64, NOW).await.unwrap();
        assert_eq!(python.ask(json!({"kind": "count"})), json!(batch * 90 + 90));
        check_searches(&mut python, &[batch as u64 * 90 + 89]);
    }
    check_rows(python.ask(json!({"kind": "rows"})), &rows);

    // Also through tidying, from the indexes, and with some rows outside them.
    tidy(&mut projection).await;
    check_rows(python.ask(json!({"kind": "rows"})), &rows);
    check_searches(&mut python, &[1, 222, 449]);
    let rows: Vec<_> = (0..470).map(full_row).collect();
    projection.apply(upserts(rows[440..].to_vec()), 9, NOW).await.unwrap();
    check_rows(python.ask(json!({"kind": "rows"})), &rows);
    check_searches(&mut python, &[3, 445, 469]);
}
