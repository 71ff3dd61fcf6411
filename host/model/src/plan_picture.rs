//! A plan as a picture for a terminal: a box for each chain, arrows with ship
//! strategies between them. A graph too wide for that becomes a list.
//!
//! `plan_layout` decides where things stand; here they are drawn.

use crate::job_graph::{JobGraph, JobVertex, OutputTarget};
use crate::plan::TransformationId;
use crate::plan_layout::{Layout, Link, Shape, Size};
use std::collections::BTreeMap;

/// Widest picture, in characters. A terminal that is narrower wraps it.
pub const MAX_WIDTH: usize = 120;
/// More chains than this are listed, not drawn.
const MAX_BOXES: usize = 60;
/// Longest line in a box.
const MAX_TEXT: usize = 44;
/// Most operators shown in a box.
const MAX_LINES: usize = 16;
/// Longest tag of a side output in a label.
const MAX_TAG: usize = 16;

/// The picture, with a line feed behind each line.
pub fn plan_picture(graph: &JobGraph) -> String {
    plan_picture_within(graph, MAX_WIDTH)
}

/// The same for a terminal of `width` characters.
pub fn plan_picture_within(graph: &JobGraph, width: usize) -> String {
    if graph.vertices.len() > MAX_BOXES {
        return list(graph);
    }
    let texts: Vec<Vec<String>> = graph.vertices.iter().map(lines_of).collect();
    let sizes: Vec<Size> = texts
        .iter()
        .map(|lines| Size {
            width: lines.iter().map(|line| line.chars().count()).max().unwrap_or(0) + 4,
            height: lines.len() + 2,
        })
        .collect();
    let layout = Layout::new(&sizes, &links(graph));
    if layout.width > width {
        return list(graph);
    }
    let mut canvas = Canvas::new(layout.width, layout.height);
    for shape in &layout.shapes {
        match shape {
            Shape::Box { index, left, top, width, out_ports } => {
                canvas.draw_box(*left, *top, *width, &texts[*index], out_ports);
            }
            Shape::Vertical { column, from, to } => canvas.vertical(*column, *from, *to),
            Shape::Horizontal { row, from, to } => canvas.horizontal(*row, *from, *to),
            Shape::Arrow { column, row } => canvas.text(*column, *row, "▼"),
            Shape::Label { column, row, text } => canvas.text(*column, *row, text),
        }
    }
    canvas.finish()
}

/// The edges between chains, by index of the vertices.
fn links(graph: &JobGraph) -> Vec<Link> {
    let index: BTreeMap<_, _> = graph.vertices.iter().enumerate().map(|(i, v)| (v.id, i)).collect();
    let mut links = Vec::new();
    for (from, vertex) in graph.vertices.iter().enumerate() {
        for output in &vertex.outputs {
            let OutputTarget::Dataset { consumer, .. } = &output.target else { continue };
            let Some(to) = index.get(consumer) else { continue };
            let mut label = output.partitioner.ship_strategy().to_owned();
            if let Some(tag) = &output.side_output {
                label = format!("{label} ({})", cut(tag, MAX_TAG));
            }
            links.push(Link { from, to: *to, label });
        }
    }
    links
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// What stands in the box of a chain: its operators, then how it runs.
fn lines_of(vertex: &JobVertex) -> Vec<String> {
    let mut names: BTreeMap<_, _> =
        vertex.operators.iter().map(|op| (op.transformation, op.name.clone())).collect();
    let mut behind: BTreeMap<TransformationId, Vec<TransformationId>> = BTreeMap::new();
    for edge in &vertex.chain_edges {
        behind.entry(edge.producer).or_default().push(edge.consumer);
        if let (Some(tag), Some(name)) = (&edge.side_output, names.get_mut(&edge.consumer)) {
            *name = format!("({}) {name}", cut(tag, MAX_TAG));
        }
    }
    let mut lines = Vec::new();
    let head = vertex.operators.first().map(|head| (head.transformation, String::new(), String::new()));
    let mut stack: Vec<_> = head.into_iter().collect();
    while let Some((id, own, indent)) = stack.pop() {
        if lines.len() == MAX_LINES {
            lines.push(format!("… and {} more", vertex.operators.len() - MAX_LINES));
            break;
        }
        lines
            .push(cut(&format!("{own}{}", names.get(&id).map(String::as_str).unwrap_or_default()), MAX_TEXT));
        match behind.get(&id).map(Vec::as_slice).unwrap_or_default() {
            // A run of operators stays at its indentation; only branches indent.
            [only] => stack.push((*only, format!("{indent}→ "), indent)),
            many => {
                for (index, child) in many.iter().enumerate().rev() {
                    let last = index + 1 == many.len();
                    let (mark, next) = if last { ("└→ ", "   ") } else { ("├→ ", "│  ") };
                    stack.push((*child, format!("{indent}{mark}"), format!("{indent}{next}")));
                }
            }
        }
    }
    lines.push(how_it_runs(vertex));
    lines
}

fn how_it_runs(vertex: &JobVertex) -> String {
    let mut text = format!("parallelism {}", vertex.parallelism);
    if vertex.slot_sharing_group != crate::stream_graph::DEFAULT_SLOT_SHARING_GROUP {
        text = format!("{text}, group {}", vertex.slot_sharing_group);
    }
    cut(&text, MAX_TEXT)
}

/// One paragraph a chain, with what it reads.
fn list(graph: &JobGraph) -> String {
    let digits = graph.vertices.len().to_string().len();
    let mut inputs: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for link in links(graph) {
        inputs.entry(link.to).or_default().push(format!("← [{}] {}", link.from + 1, link.label));
    }
    let mut out = String::new();
    for (index, vertex) in graph.vertices.iter().enumerate() {
        let name = cut(&vertex.name, MAX_WIDTH);
        out.push_str(&format!("[{:>digits$}] {name}, {}\n", index + 1, how_it_runs(vertex)));
        for input in inputs.remove(&index).unwrap_or_default() {
            out.push_str(&format!("{:indent$}{input}\n", "", indent = digits + 3));
        }
    }
    out
}

const UP: u8 = 1;
const DOWN: u8 = 2;
const LEFT: u8 = 4;
const RIGHT: u8 = 8;

#[derive(Clone, Copy)]
enum Cell {
    /// Lines that meet here, by direction.
    Lines(u8),
    Text(char),
}

struct Canvas {
    rows: Vec<Vec<Cell>>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self { rows: vec![vec![Cell::Lines(0); width]; height] }
    }

    fn line(&mut self, column: usize, row: usize, directions: u8) {
        if let Some(Cell::Lines(lines)) = self.rows.get_mut(row).and_then(|row| row.get_mut(column)) {
            *lines |= directions;
        }
    }

    /// From the upper edge of row `from` to the lower edge of row `to`, or to
    /// the middle where a horizontal line is met: see `horizontal`.
    fn vertical(&mut self, column: usize, from: usize, to: usize) {
        for row in from..=to {
            let up = if row == from { 0 } else { UP };
            let down = if row == to { 0 } else { DOWN };
            self.line(column, row, up | down);
        }
    }

    fn horizontal(&mut self, row: usize, from: usize, to: usize) {
        for column in from..=to {
            let left = if column == from { 0 } else { LEFT };
            let right = if column == to { 0 } else { RIGHT };
            self.line(column, row, left | right);
        }
    }

    fn text(&mut self, column: usize, row: usize, text: &str) {
        for (offset, c) in text.chars().enumerate() {
            if let Some(cell) = self.rows.get_mut(row).and_then(|row| row.get_mut(column + offset)) {
                *cell = Cell::Text(c);
            }
        }
    }

    fn draw_box(&mut self, left: usize, top: usize, width: usize, lines: &[String], out_ports: &[usize]) {
        let rule = "─".repeat(width - 2);
        self.text(left, top, &format!("┌{rule}┐"));
        for (index, line) in lines.iter().enumerate() {
            let filled = format!("│ {line:<inner$} │", inner = width - 4);
            self.text(left, top + 1 + index, &filled);
        }
        let bottom = top + 1 + lines.len();
        self.text(left, bottom, &format!("└{rule}┘"));
        for port in out_ports {
            self.text(*port, bottom, "┬");
        }
    }

    fn finish(self) -> String {
        let mut out = String::new();
        for row in self.rows {
            let line: String = row.into_iter().map(symbol).collect();
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

fn symbol(cell: Cell) -> char {
    const VERTICAL: u8 = UP | DOWN;
    const HORIZONTAL: u8 = LEFT | RIGHT;
    let lines = match cell {
        Cell::Text(c) => return c,
        Cell::Lines(lines) => lines,
    };
    match lines {
        0 => ' ',
        l if l & HORIZONTAL == 0 => '│',
        l if l & VERTICAL == 0 => '─',
        l if l == DOWN | RIGHT => '┌',
        l if l == DOWN | LEFT => '┐',
        l if l == UP | RIGHT => '└',
        l if l == UP | LEFT => '┘',
        l if l == VERTICAL | RIGHT => '├',
        l if l == VERTICAL | LEFT => '┤',
        l if l == HORIZONTAL | DOWN => '┬',
        l if l == HORIZONTAL | UP => '┴',
        _ => '┼',
    }
}
