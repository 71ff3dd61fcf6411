//! What `heddle-model` promises, through its public doors: batches, graphs,
//! chains, ids, plans as JSON and as pictures.

mod batch_format;
mod batch_golden;
mod chaining;
mod graph_properties;
mod operator_ids;
mod option_names;
mod plan_script;
mod plans;
mod stream_graphs;
mod wrong_plans;
