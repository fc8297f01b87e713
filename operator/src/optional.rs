//! The watch on a kind that a cluster may lack: it comes and goes with the kind. Does not know who looks for that.

use futures::StreamExt;
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;

use crate::kinds::Kind;
use crate::watches::{self, Watches};

/// Keeps a store of what is ours of a kind while `there` holds of what is known; it is empty while it does not.
pub async fn watch_while<T>(
    watches: Watches,
    kind: Kind,
    mut known: watch::Receiver<T>,
    there: fn(&T) -> bool,
    mut writer: Writer<DynamicObject>,
) {
    while known.wait_for(there).await.is_ok() {
        let events = watcher(watches.api_of(&kind.resource()), watches::ours()).default_backoff();
        let mut events = std::pin::pin!(events.take_until(gone(known.clone(), there)));
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => told(&watches, kind, &mut writer, event),
                Err(error) => watches.broke(kind.as_str(), &error),
            }
        }
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
    }
}

async fn gone<T>(mut known: watch::Receiver<T>, there: fn(&T) -> bool) {
    // An error means that nobody looks any more: the process ends.
    let _ = known.wait_for(|known| !there(known)).await;
}

fn told(watches: &Watches, kind: Kind, writer: &mut Writer<DynamicObject>, event: Event<DynamicObject>) {
    let event = event.modify(|object| object.managed_fields_mut().clear());
    writer.apply_watcher_event(&event);
    if let Event::Apply(object) | Event::Delete(object) | Event::InitApply(object) = &event {
        watches.seen(kind, object);
    }
}
