//! The console: the page at `/`, which shows in a browser what the API says.
//!
//! Takes requests for its files, gives them from the program itself, with headers under which the page can load nothing
//! from elsewhere and send nothing there. Never knows anything of tenants: the page asks the API, under the same guard.

use std::sync::LazyLock;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use xxhash_rust::xxh3::xxh3_128;

/// Scripts and styles are files of their own, so that none in a page's text is ever run: labels are strangers' words.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    // Asked about each time: the program may have been replaced, and its files have no version in their names.
    (header::CACHE_CONTROL, "no-cache"),
];

struct File {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($kind:ident $name:literal,)*) => {
        [$(File { name: $name, kind: $kind, text: include_str!(concat!("console/", $name)) },)*]
    };
}

/// As they are in the repository: nothing is built. The first one is the page.
static FILES: [File; 20] = files![
    HTML "index.html",
    STYLE "style.css",
    PICTURE "icon.svg",
    SCRIPT "app.js",
    SCRIPT "attention.js",
    SCRIPT "banner.js",
    SCRIPT "charts.js",
    SCRIPT "counted.js",
    SCRIPT "data.js",
    SCRIPT "dom.js",
    SCRIPT "format.js",
    SCRIPT "overview.js",
    SCRIPT "parts.js",
    SCRIPT "playground.js",
    SCRIPT "policies.js",
    SCRIPT "standing.js",
    SCRIPT "table.js",
    SCRIPT "tenant.js",
    SCRIPT "upstreams.js",
    SCRIPT "words.js",
];

/// By the place in `FILES`; a strong validator, as RFC 9110 section 8.8.3 writes it.
static TAGS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    let tag = |file: &File| format!("\"{:032x}\"", xxh3_128(file.text.as_bytes()));
    let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("\"\""));
    FILES.iter().map(tag).map(value).collect()
});

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(page)).route("/console/{name}", get(file))
}

async fn page(headers: HeaderMap) -> Response {
    answer("index.html", &headers)
}

async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    answer(&name, &headers)
}

fn answer(name: &str, asked: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    let Some((file, tag)) = FILES.iter().zip(&*TAGS).find(|(file, _)| file.name == name) else {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::ETAG, tag.clone());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
    match has(asked, tag) {
        true => *response.status_mut() = StatusCode::NOT_MODIFIED,
        false => *response.body_mut() = Body::from(file.text),
    }
    response
}

/// RFC 9110 section 13.1.2: whether the browser has this version. A tag may come back as a weak one.
fn has(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    let lists = asked
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one).as_bytes() == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(tag: &str) -> HeaderMap {
        let tag = tag.parse().unwrap();
        HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)])
    }

    fn text(name: &str) -> &'static str {
        FILES.iter().find(|file| file.name == name).unwrap().text
    }

    #[test]
    fn every_file_comes_with_the_headers_that_keep_the_page_to_itself() {
        for file in &FILES {
            let response = answer(file.name, &HeaderMap::new());
            assert_eq!(response.status(), StatusCode::OK, "{}", file.name);
            let headers = response.headers();
            for (name, value) in HEADERS {
                assert_eq!(headers[&name], value, "{}", file.name);
            }
            assert_eq!(headers[header::CONTENT_TYPE], file.kind);
        }
        assert_eq!(
            answer("../console.rs", &HeaderMap::new()).status(),
            StatusCode::NOT_FOUND
        );
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let tag = answer("app.js", &HeaderMap::new()).headers()[header::ETAG].clone();
        let tag = tag.to_str().unwrap();
        for has in [tag, &format!("W/{tag}"), &format!("\"x\", {tag}"), "*"] {
            assert_eq!(answer("app.js", &with(has)).status(), StatusCode::NOT_MODIFIED, "{has}");
        }
        for lacks in ["\"x\"", "", &tag[1..]] {
            assert_eq!(answer("app.js", &with(lacks)).status(), StatusCode::OK, "{lacks}");
        }
        assert_eq!(answer("style.css", &with(tag)).status(), StatusCode::OK);
    }

    #[test]
    fn the_page_names_only_files_that_are_here() {
        let page = text("index.html");
        let linked = page.split('"').filter_map(|part| part.strip_prefix("console/"));
        let scripts = FILES.iter().filter(|file| file.kind == SCRIPT);
        let imported = scripts.flat_map(|file| file.text.split('"').filter_map(|part| part.strip_prefix("./")));
        let named: Vec<_> = linked.chain(imported).collect();
        for name in &named {
            assert!(FILES.iter().any(|file| file.name == *name), "{name} is not embedded");
        }
        for file in &FILES[1..] {
            assert!(
                named.contains(&file.name),
                "{} is embedded, and nothing loads it",
                file.name
            );
        }
    }

    #[test]
    fn no_word_of_a_stranger_can_become_markup() {
        for file in FILES.iter().filter(|file| file.kind == SCRIPT) {
            for means in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "Function(",
                "srcdoc",
            ] {
                assert!(!file.text.contains(means), "{} uses {means}", file.name);
            }
        }
    }

    #[test]
    fn every_reason_of_the_protocol_is_explained() {
        let protocol = include_str!("../../../docs/protocol.md");
        let (words, mut reasons) = (text("words.js"), 0);
        let tables = protocol.split("## What is sent to receivers").next().unwrap();
        for row in tables.lines().filter(|line| line.starts_with("| ")) {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let is_answer = cells[1]
                .split_whitespace()
                .next()
                .is_some_and(|status| status.parse::<u16>().is_ok());
            let cell = if is_answer { cells[2] } else { cells[1] };
            for reason in cell.split('`').skip(1).step_by(2) {
                let is_word = reason.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                if is_word && reason != "over_rate_status" {
                    assert!(
                        words.contains(&format!("\n  {reason}: ")),
                        "words.js does not explain {reason}"
                    );
                    reasons += 1;
                }
            }
        }
        assert!(reasons > 60, "only {reasons} reasons were found in docs/protocol.md");
    }
}
