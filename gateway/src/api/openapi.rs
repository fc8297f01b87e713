//! The description of the API (OpenAPI 3.1), made from the handlers and their types. `docs/openapi.json` is its copy.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr, Response as Described, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi};

use super::problem::{Code, Problem};
use super::{messages, presence, rooms, sessions};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "WsCluster",
        description = "Write to rooms, read them back, see who is there, end a session. Rooms are Redis Streams: \
                       what is written here reaches every subscriber, whichever gateway it is connected to.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(messages::write, messages::read, rooms::list, presence::read, sessions::end, serve),
    components(schemas(Problem)),
    modifiers(&Bearer),
    tags(
        (name = "messages", description = "Messages of rooms"), (name = "rooms", description = "Rooms"),
        (name = "sessions", description = "Sessions"), (name = "api", description = "This description")),
)]
struct Description;

/// An API key or a JWT.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key, or a JWT with the claims of docs/security.md. Without one, the rules of `auth.anonymous` apply."))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// What can go wrong with every request.
pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        const CODES: [(Code, &str); 8] = [
            (Code::BadRequest, "The request cannot be understood"),
            (Code::Unauthorized, "The key or token is missing or not valid"),
            (Code::Forbidden, "Not allowed"),
            (Code::RequestTimeout, "The body did not come in time"),
            (Code::TooLarge, "The body or the payload is too long"),
            (Code::UnsupportedMediaType, "The body is not JSON"),
            (Code::RateLimited, "Too many requests"),
            (Code::Unavailable, "The log cannot be reached"),
        ];
        CODES
            .into_iter()
            .map(|(code, text)| (code.status().as_u16().to_string(), described(code, text).into()))
            .collect()
    }
}

fn described(code: Code, text: &str) -> Described {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response = ResponseBuilder::new().description(text).content("application/problem+json", content);
    if !matches!(code, Code::RateLimited | Code::Unavailable) {
        return response.build();
    }
    response.header("Retry-After", HeaderBuilder::new().description(Some("Seconds to wait")).build()).build()
}

/// The description, as JSON.
pub fn document() -> String {
    Description::openapi().to_pretty_json().expect("the description is JSON") + "\n"
}

/// This description
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "api", operation_id = "describe",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)),
)]
pub(super) async fn serve() -> Response {
    static DOCUMENT: LazyLock<String> = LazyLock::new(document);
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "max-age=300")];
    (headers, DOCUMENT.as_str()).into_response()
}
