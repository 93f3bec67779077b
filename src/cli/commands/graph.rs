//! `graph`: who needs whom, as text, Mermaid or DOT.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::{Args, ValueEnum};

use crate::catalogue::Catalogue;
use crate::cli::grammar::arguments::TargetArguments;
use crate::cli::session::Session;
use crate::cli::session::select::{self, Unselected};
use crate::cli::text::failure::Failure;
use crate::services::{DependencyEdge, DependencyGraph, dependencies};

#[derive(Debug, Args)]
pub struct GraphArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// The output format
    #[arg(long, value_enum, default_value_t = GraphFormat::Text)]
    pub format: GraphFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// Layers, and what each service depends on
    Text,
    /// A Mermaid flowchart
    Mermaid,
    /// Graphviz
    Dot,
}

/// `dpl graph`. Needs no engine.
pub fn run(arguments: &GraphArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, selectors) = session.targets(&arguments.targets.targets)?;
    let selection = select::services(project.manifest(), &selectors, Unselected::All)?;
    let graph = dependencies(project.manifest(), &selection)?;
    let output = &session.output;
    if output.json {
        output.document(&graph)?;
        return Ok(0);
    }
    output.data(&match arguments.format {
        GraphFormat::Text => text(&graph, output.catalogue),
        // For programs, and for documents that others read.
        GraphFormat::Mermaid => mermaid(&graph),
        GraphFormat::Dot => dot(&graph),
    })?;
    Ok(0)
}

/// What a need asks for beside that the other one has started.
fn conditions(edge: &DependencyEdge, catalogue: &Catalogue) -> String {
    let condition = match edge.condition {
        "service_healthy" => Some(message!("need-healthy")),
        "service_completed_successfully" => Some(message!("need-completed")),
        _ => None,
    };
    let words = [
        condition.or((!edge.namespace).then_some(message!("need-started"))),
        edge.namespace.then_some(message!("need-namespace")),
        (edge.restart && !edge.namespace).then_some(message!("need-restart")),
        (!edge.required).then_some(message!("need-optional")),
    ];
    catalogue.list(&words.into_iter().flatten().map(|key| catalogue.word(key)).collect::<Vec<_>>())
}

/// Layers, dependencies first; under each service what it needs.
fn text(graph: &DependencyGraph, catalogue: &Catalogue) -> String {
    let mut text = String::new();
    let mut layer = 0;
    for service in &graph.services {
        if service.layer != layer {
            layer = service.layer;
            let title = catalogue.text(&message!("graph-layer", layer = layer));
            let _ = writeln!(text, "{}{title}", if text.is_empty() { "" } else { "\n" });
        }
        let mark = if service.chosen { ' ' } else { '+' };
        let _ = writeln!(text, " {mark}{:>3}  {}", service.index, service.name);
        let needs: Vec<&DependencyEdge> = graph.needs.iter().filter(|edge| edge.service == service.name).collect();
        for (place, edge) in needs.iter().enumerate() {
            let branch = if place + 1 == needs.len() { "└─" } else { "├─" };
            let _ = writeln!(text, "       {branch} {} ({})", edge.needs, conditions(edge, catalogue));
        }
    }
    text
}

/// Names are data: each gets a word that either language takes for an identifier.
fn identifiers(graph: &DependencyGraph) -> BTreeMap<&str, String> {
    graph.services.iter().map(|service| (service.name.as_str(), format!("s{}", service.index))).collect()
}

/// For Markdown and wherever else Mermaid is drawn ("Flowcharts").
fn mermaid(graph: &DependencyGraph) -> String {
    let quoted = |text: &str| text.replace('"', "#quot;");
    let ids = identifiers(graph);
    let mut text = String::from("flowchart LR\n");
    for service in &graph.services {
        let _ = writeln!(text, "  {}[\"{} {}\"]", ids[service.name.as_str()], service.index, quoted(&service.name));
    }
    for edge in &graph.needs {
        let arrow = if edge.required { "-->" } else { "-.->" };
        let (from, to) = (&ids[edge.service.as_str()], &ids[edge.needs.as_str()]);
        let _ = writeln!(text, "  {from} {arrow}|\"{}\"| {to}", quoted(&conditions(edge, Catalogue::english())));
    }
    text
}

/// For Graphviz (its "DOT Language").
fn dot(graph: &DependencyGraph) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let ids = identifiers(graph);
    let mut text = format!("digraph \"{}\" {{\n  rankdir=LR;\n  node [shape=box];\n", quoted(&graph.project));
    for service in &graph.services {
        let _ =
            writeln!(text, "  {} [label=\"{} {}\"];", ids[service.name.as_str()], service.index, quoted(&service.name));
    }
    for edge in &graph.needs {
        let style = if edge.required { "" } else { ", style=dashed" };
        let (from, to) = (&ids[edge.service.as_str()], &ids[edge.needs.as_str()]);
        let _ =
            writeln!(text, "  {from} -> {to} [label=\"{}\"{style}];", quoted(&conditions(edge, Catalogue::english())));
    }
    text.push_str("}\n");
    text
}
