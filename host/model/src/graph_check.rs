//! Checks a plan before a graph is made of it. A plan comes from a guest, so
//! nothing in it is believed: ids, inputs, types and sizes are checked here,
//! and every refusal names the transformation.

use crate::element::{Column, ElementType};
use crate::failure::{ErrorCode, Failure};
use crate::plan::{JobPlan, Partitioner, Transformation, TransformationId, TransformationKind};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// Most transformations of a plan: far more than any program has, few enough
/// that every later step stays quick.
pub const MAX_TRANSFORMATIONS: usize = 10_000;
/// Most characters of a name, a uid, a tag or a group.
pub const MAX_NAME_CHARS: usize = 1_000;
/// Most inputs of a union.
pub const MAX_INPUTS: usize = 1_000;
/// Most columns of an element type.
pub const MAX_COLUMNS: usize = 256;

/// How much of a name a message shows.
const SHOWN_CHARS: usize = 80;

/// A plan whose ids, inputs and types fit together.
pub(crate) struct CheckedPlan<'a> {
    pub by_id: BTreeMap<TransformationId, &'a Transformation>,
    /// Upstream first, else by id: it does not depend on the plan's order.
    pub order: Vec<TransformationId>,
}

impl<'a> CheckedPlan<'a> {
    pub fn new(plan: &'a JobPlan) -> Result<Self, Failure> {
        if plan.transformations.is_empty() {
            let message = "no operators defined in streaming topology: the program made no stream; \
                           start with a source and end with a sink";
            return Err(Failure::new(ErrorCode::PlanInvalid, message));
        }
        if plan.transformations.len() > MAX_TRANSFORMATIONS {
            let count = plan.transformations.len();
            let message = format!("the plan has {count} transformations, the limit is {MAX_TRANSFORMATIONS}");
            return Err(Failure::new(ErrorCode::PlanInvalid, message));
        }
        if let Some(name) = &plan.name {
            check_text(name)
                .map_err(|why| Failure::new(ErrorCode::PlanInvalid, format!("the name of the job {why}")))?;
        }
        let mut by_id = BTreeMap::new();
        for transformation in &plan.transformations {
            check_texts(transformation)?;
            if let Some(other) = by_id.insert(transformation.id, transformation) {
                let message = format!("{} has the same id as {}", label(transformation), label(other));
                return Err(Failure::new(ErrorCode::PlanInvalid, message));
            }
        }
        check_uids(by_id.values().copied())?;
        for transformation in by_id.values() {
            check_inputs(transformation, &by_id)?;
            check_output(transformation)?;
        }
        let order = upstream_first(&by_id)?;
        for id in &order {
            check_types(by_id[id], &by_id)?;
        }
        check_ends(&by_id)?;
        Ok(Self { by_id, order })
    }
}

/// What a transformation is called in a message.
pub(crate) fn label(transformation: &Transformation) -> String {
    let what = match transformation.kind {
        TransformationKind::Source { .. } | TransformationKind::ConnectorSource(_) => "source",
        TransformationKind::OneInput | TransformationKind::TwoInput => "operator",
        TransformationKind::Sink | TransformationKind::ConnectorSink(_) => "sink",
        TransformationKind::Union => "union",
        TransformationKind::Partition(_) => "partition",
        TransformationKind::SideOutput(_) => "side output",
    };
    format!("{what} {} (id {})", quoted(&transformation.name), transformation.id)
}

/// A name in quotes, cut to a length that a line can hold, on one line.
pub(crate) fn quoted(name: &str) -> String {
    let shown: String =
        name.chars().take(SHOWN_CHARS).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let cut = if name.chars().nth(SHOWN_CHARS).is_some() { "…" } else { "" };
    format!("'{shown}{cut}'")
}

pub(crate) fn invalid(transformation: &Transformation, why: impl std::fmt::Display) -> Failure {
    Failure::new(ErrorCode::PlanInvalid, format!("{} {why}", label(transformation)))
}

fn mismatch(transformation: &Transformation, why: impl std::fmt::Display) -> Failure {
    Failure::new(ErrorCode::SchemaMismatch, format!("{} {why}", label(transformation)))
}

pub(crate) fn is_virtual(transformation: &Transformation) -> bool {
    matches!(
        transformation.kind,
        TransformationKind::Union | TransformationKind::Partition(_) | TransformationKind::SideOutput(_)
    )
}

fn is_sink(kind: &TransformationKind) -> bool {
    matches!(kind, TransformationKind::Sink | TransformationKind::ConnectorSink(_))
}

fn is_source(kind: &TransformationKind) -> bool {
    matches!(kind, TransformationKind::Source { .. } | TransformationKind::ConnectorSource(_))
}

fn check_text(text: &str) -> Result<(), String> {
    let count = text.chars().take(MAX_NAME_CHARS + 1).count();
    if count > MAX_NAME_CHARS {
        return Err(format!("is longer than {MAX_NAME_CHARS} characters"));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(format!("has the control character {:?}", c)),
        None => Ok(()),
    }
}

fn check_texts(transformation: &Transformation) -> Result<(), Failure> {
    let tag = match &transformation.kind {
        TransformationKind::SideOutput(tag) => Some(("its tag", tag)),
        TransformationKind::Partition(Partitioner::Custom(name)) => Some(("its partitioner's name", name)),
        _ => None,
    };
    let uid = transformation.uid.as_ref().map(|uid| ("its uid", uid));
    let group = transformation.slot_sharing_group.as_ref().map(|group| ("its slot sharing group", group));
    let pair = transformation.co_location_group.as_ref().map(|group| ("its co-location group", group));
    let texts = [Some(("its name", &transformation.name)), tag, uid, group, pair];
    for (what, text) in texts.into_iter().flatten() {
        check_text(text)
            .map_err(|why| invalid(transformation, format_args!("is not accepted: {what} {why}")))?;
    }
    Ok(())
}

fn check_uids<'a>(transformations: impl Iterator<Item = &'a Transformation>) -> Result<(), Failure> {
    let mut uids = BTreeMap::new();
    for transformation in transformations.filter(|t| !is_virtual(t)) {
        let Some(uid) = &transformation.uid else { continue };
        if uid.is_empty() {
            return Err(invalid(transformation, "has an empty uid; give it a text, or leave it out"));
        }
        if let Some(other) = uids.insert(uid, transformation) {
            let why =
                format_args!("has the uid {}, which {} has too; uids are unique", quoted(uid), label(other));
            return Err(invalid(transformation, why));
        }
    }
    Ok(())
}

fn check_inputs(
    transformation: &Transformation,
    by_id: &BTreeMap<TransformationId, &Transformation>,
) -> Result<(), Failure> {
    let expected = match transformation.kind {
        TransformationKind::Source { .. } | TransformationKind::ConnectorSource(_) => 0..=0,
        TransformationKind::TwoInput => 2..=2,
        TransformationKind::Union => 1..=MAX_INPUTS,
        _ => 1..=1,
    };
    let count = transformation.inputs.len();
    if !expected.contains(&count) {
        let allowed = match (*expected.start(), *expected.end()) {
            (least, most) if least == most => format!("{least}"),
            (least, most) => format!("{least} to {most}"),
        };
        return Err(invalid(transformation, format_args!("has {count} inputs, its kind takes {allowed}")));
    }
    for id in &transformation.inputs {
        let Some(input) = by_id.get(id) else {
            return Err(invalid(
                transformation,
                format_args!("reads transformation {id}, which does not exist"),
            ));
        };
        if is_sink(&input.kind) {
            return Err(invalid(
                transformation,
                format_args!("reads {}, which gives out nothing", label(input)),
            ));
        }
    }
    if transformation.keyed && is_source(&transformation.kind) {
        return Err(invalid(transformation, "is keyed, but a source has no input"));
    }
    Ok(())
}

fn check_output(transformation: &Transformation) -> Result<(), Failure> {
    match (&transformation.output, is_sink(&transformation.kind)) {
        (Some(element), false) => check_element(transformation, element)?,
        (None, true) => {}
        (None, false) => return Err(invalid(transformation, "has no element type for its output")),
        (Some(_), true) => {
            return Err(invalid(transformation, "is a sink, but has an element type for an output"));
        }
    }
    match &transformation.kind {
        TransformationKind::Partition(Partitioner::KeyGroups(key)) => check_element(transformation, key),
        _ => Ok(()),
    }
}

fn check_element(transformation: &Transformation, element: &ElementType) -> Result<(), Failure> {
    if element.columns.len() > MAX_COLUMNS {
        let count = element.columns.len();
        let why = format_args!("has an element type of {count} columns, the limit is {MAX_COLUMNS}");
        return Err(invalid(transformation, why));
    }
    for column in &element.columns {
        if let Column::Fixed(width) = column
            && !matches!(width, 1 | 2 | 4 | 8)
        {
            let why = format_args!("has a column of fixed width {width}; the widths are 1, 2, 4 and 8 bytes");
            return Err(invalid(transformation, why));
        }
    }
    Ok(())
}

/// Kahn's order with the smallest id first among those that are ready.
fn upstream_first(
    by_id: &BTreeMap<TransformationId, &Transformation>,
) -> Result<Vec<TransformationId>, Failure> {
    let mut missing = BTreeMap::new();
    let mut readers: BTreeMap<TransformationId, Vec<TransformationId>> = BTreeMap::new();
    for (id, transformation) in by_id {
        missing.insert(*id, transformation.inputs.len());
        for input in &transformation.inputs {
            readers.entry(*input).or_default().push(*id);
        }
    }
    let mut ready: BinaryHeap<_> =
        missing.iter().filter(|(_, count)| **count == 0).map(|(id, _)| Reverse(*id)).collect();
    let mut order = Vec::with_capacity(by_id.len());
    while let Some(Reverse(id)) = ready.pop() {
        order.push(id);
        for reader in readers.get(&id).into_iter().flatten() {
            let count = missing.get_mut(reader).expect("every reader is in the plan");
            *count -= 1;
            if *count == 0 {
                ready.push(Reverse(*reader));
            }
        }
    }
    if order.len() == by_id.len() { Ok(order) } else { Err(cycle(by_id, &order)) }
}

/// Names one cycle among what could not be ordered.
fn cycle(by_id: &BTreeMap<TransformationId, &Transformation>, ordered: &[TransformationId]) -> Failure {
    let ordered: BTreeSet<_> = ordered.iter().collect();
    let stuck = |id: &TransformationId| !ordered.contains(id);
    let mut at = *by_id.keys().find(|id| stuck(id)).expect("something could not be ordered");
    let mut path = Vec::new();
    let mut seen = BTreeMap::new();
    while !seen.contains_key(&at) {
        seen.insert(at, path.len());
        path.push(at);
        // Whatever is stuck has an input that is stuck.
        at = *by_id[&at].inputs.iter().find(|id| stuck(id)).expect("a stuck input");
    }
    let mut cycle: Vec<_> = path[seen[&at]..].to_vec();
    cycle.reverse();
    let first = by_id[&cycle[0]];
    let names: Vec<_> = cycle.iter().take(5).map(|id| quoted(&by_id[id].name)).collect();
    let more = if cycle.len() > 5 { " -> …" } else { "" };
    let why = format_args!(
        "is part of a cycle: {}{more} -> {}; streams only flow forward",
        names.join(" -> "),
        quoted(&first.name)
    );
    invalid(first, why)
}

fn check_types(
    transformation: &Transformation,
    by_id: &BTreeMap<TransformationId, &Transformation>,
) -> Result<(), Failure> {
    let inputs = || transformation.inputs.iter().map(|id| by_id[id]);
    match &transformation.kind {
        TransformationKind::Partition(_) | TransformationKind::Union => {
            for input in inputs() {
                if input.output != transformation.output {
                    let why = format_args!(
                        "passes on {}, but {} gives out {}; both ends of a stream need the same element type",
                        element(&transformation.output),
                        label(input),
                        element(&input.output),
                    );
                    return Err(mismatch(transformation, why));
                }
            }
        }
        TransformationKind::ConnectorSink(spec) => {
            let text = Some(ElementType::text());
            if let Some(input) = inputs().find(|input| input.output != text) {
                let why = format_args!(
                    "of connector '{}' takes {}, but {} gives out {}; map the elements to text first",
                    spec.name,
                    element(&text),
                    label(input),
                    element(&input.output),
                );
                return Err(mismatch(transformation, why));
            }
        }
        TransformationKind::ConnectorSource(spec) => {
            let text = Some(ElementType::text());
            if transformation.output != text {
                let why = format_args!(
                    "of connector '{}' gives out {}, but the program reads it as {}",
                    spec.name,
                    element(&text),
                    element(&transformation.output),
                );
                return Err(mismatch(transformation, why));
            }
        }
        _ => {}
    }
    Ok(())
}

/// An element type in a message.
fn element(element: &Option<ElementType>) -> String {
    let Some(element) = element else { return "nothing".into() };
    let columns: Vec<_> = element
        .columns
        .iter()
        .take(8)
        .map(|column| match column {
            Column::Fixed(width) => format!("fixed({width})"),
            Column::Bytes => "bytes".into(),
            Column::Utf8 => "utf8".into(),
        })
        .collect();
    let more = if element.columns.len() > 8 { ", …" } else { "" };
    let schema = quoted(&element.schema);
    format!("{schema} as {} [{}{more}]", quoted(&element.codec).trim_matches('\''), columns.join(", "))
}

fn check_ends(by_id: &BTreeMap<TransformationId, &Transformation>) -> Result<(), Failure> {
    // Without a source nothing could have been ordered, so there is one.
    if by_id.values().any(|transformation| is_sink(&transformation.kind)) {
        return Ok(());
    }
    let last = by_id.values().rev().find(|t| !is_virtual(t)).or(by_id.values().next_back());
    let behind = last.map(|t| format!(", for example behind {}", label(t))).unwrap_or_default();
    let message = format!(
        "no operators defined in streaming topology: the program has no sink, so nothing would come out of it; \
         add one{behind}"
    );
    Err(Failure::new(ErrorCode::PlanInvalid, message))
}
