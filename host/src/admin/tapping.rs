//! `POST /api/v1/tap`: the series that a tenant sends within some seconds, for operators of a gateway that permits it.
//!
//! Takes a tenant and a time, gives a capture as text. Ends early if it is full, if the gateway drains, or if the
//! configuration permits it no more; whoever hangs up ends it at once.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, sleep};

use super::gateway::Gateway;
use super::question::{NoAnswer, TapInquiry, bad, read, serving, tenant_id};
use super::views::failed;
use crate::pipeline::LEFT_OUT;

/// Longest time that a tenant's series are taken, in seconds.
const LONGEST: u64 = 300;
/// How soon it is seen that it is to end early.
const LOOK: Duration = Duration::from_millis(100);
const EXAMPLE: &str = r#"{"tenant": "kazusa", "seconds": 30, "values": false}"#;

pub(super) async fn tapped(State(gateway): State<Gateway>, request: Request<Body>) -> Response {
    match tap(&gateway, request).await {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response(),
        Err((status, error)) => failed(status, &error),
    }
}

async fn tap(gateway: &Gateway, request: Request<Body>) -> Result<String, NoAnswer> {
    if !is_permitted(gateway) {
        let off = "this gateway shows no series; an operator permits it with `admin: {tap: true}` in its configuration";
        return Err((StatusCode::FORBIDDEN, off.to_owned()));
    }
    let TapInquiry {
        tenant,
        seconds,
        values,
    } = read(request, EXAMPLE).await?;
    let tenant = tenant_id(&tenant)?;
    if seconds == 0 || seconds > LONGEST {
        return Err(bad(format!(
            "series are taken for 1 to {LONGEST} seconds, not for {seconds}"
        )));
    }
    let tap = {
        let current = gateway.generations.current();
        serving(&current.tenants, &tenant)?;
        current.shared.tap.open(&tenant, values)
    };
    let tap = tap.ok_or_else(|| {
        (
            StatusCode::CONFLICT,
            "other series are being taken; ask again".to_owned(),
        )
    })?;
    tracing::info!(%tenant, seconds, values, "the series that this tenant sends are taken for an operator");
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end && !tap.is_full() && is_permitted(gateway) && gateway.ready.load(Ordering::Acquire) {
        sleep(LOOK.min(end - Instant::now())).await;
    }
    let taken = tap.close();
    let mut text = format!(
        "# {} series that tenant {tenant} sent, taken by `gauntlet tap`.\n",
        taken.series
    );
    // Writing to a String cannot fail.
    if !values {
        let _ = writeln!(text, "{LEFT_OUT}");
    }
    if taken.is_full {
        let _ = writeln!(text, "# There were more than fit.");
    }
    text.push_str(&taken.lines);
    Ok(text)
}

fn is_permitted(gateway: &Gateway) -> bool {
    gateway.generations.current().config.admin.tap
}
