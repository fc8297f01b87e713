//! `explain`: prints where each number in force comes from.

use anyhow::Result;
use wscluster_crds::WsCluster;

use crate::Outcome;
use crate::access::Access;
use crate::arguments::{ExplainArguments, Format};
use crate::explain::{Field, Item, items, text};
use crate::ui::{Look, Paint, Ui};
use crate::view::wrapped;

pub(super) async fn run(arguments: &ExplainArguments, access: &Access, ui: &mut Ui) -> Result<Outcome> {
    let cluster = access.cluster(&arguments.name).await?;
    match arguments.output {
        Format::Json => ui.line(serde_json::to_string_pretty(&items(&cluster))?)?,
        Format::Table => ui.line(drawn(&cluster, ui.width(), ui.paint()))?,
    }
    Ok(Outcome::Done)
}

/// The numbers in force, for a person.
pub fn drawn(cluster: &WsCluster, width: usize, paint: Paint) -> String {
    items(cluster).iter().map(|item| block(item, width, paint)).collect::<Vec<_>>().join("\n")
}

fn block(item: &Item, width: usize, paint: Paint) -> String {
    let name = paint.apply(Look::Strong, &format!("{:<22}", item.name));
    let because = wrapped(&item.because, width, "    ");
    let fields: String = item.fields.iter().map(|field| line(field, paint)).collect();
    format!("{name}{}\n{because}{fields}", item.value)
}

fn line(field: &Field, paint: Paint) -> String {
    let origin = if field.default { paint.apply(Look::Faint, "default") } else { "set".to_owned() };
    format!("    {}: {} ({origin})\n", field.path, text(&field.value))
}
