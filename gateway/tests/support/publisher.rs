//! A real HTTP server that publishes a key set, and does what it is told when it is asked for one.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use parking_lot::Mutex;
use tokio::sync::watch;

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A body, with 200.
    Body(String),
    /// A status without a body.
    Status(StatusCode),
    /// Another address.
    Redirect(String),
    /// Nothing, for ever.
    Silence,
}

/// The server. It ends with the test.
pub(crate) struct Publisher {
    pub(crate) url: String,
    answer: Arc<Mutex<Answer>>,
    asked: watch::Receiver<usize>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Served {
    answer: Arc<Mutex<Answer>>,
    asked: watch::Sender<usize>,
}

impl Publisher {
    pub(crate) async fn start(answer: Answer) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(answer));
        let (sender, asked) = watch::channel(0);
        let served = Served { answer: Arc::clone(&answer), asked: sender };
        let app = Router::new().fallback(answer_one).with_state(served);
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, answer, asked, task }
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *self.answer.lock() = answer;
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    /// Waits until it was asked so often.
    pub(crate) async fn asked_for(&self, times: usize) {
        let mut asked = self.asked.clone();
        let waited = tokio::time::timeout(Duration::from_secs(20), asked.wait_for(|asked| *asked >= times)).await;
        waited.expect("the key set is asked for").unwrap();
    }

    /// Nobody listens any more.
    pub(crate) async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

async fn answer_one(State(served): State<Served>) -> Response {
    served.asked.send_modify(|asked| *asked += 1);
    let answer = served.answer.lock().clone();
    match answer {
        Answer::Body(body) => body.into_response(),
        Answer::Status(status) => status.into_response(),
        Answer::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Answer::Silence => std::future::pending().await,
    }
}
