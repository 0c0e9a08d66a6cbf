//! `POST /api/v1/explain`: what would become of series, asked by operators.
//!
//! Takes a tenant and series as text, gives the way of each. Bounded in the number of series, in their size and in how many
//! questions are answered at once: an answer takes calls of the tenant's plugins, in the order that is fair to all others.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Response;

use super::gateway::Gateway;
use super::question::{NoAnswer, bad, read, serving, tenant_id};
use super::views::{failed, success};
use crate::explain::{Explained, Inquiry, explain_all, under};
use crate::model::{parse_series, plain};

/// Series of one question.
const MAX_SERIES: usize = 100;
/// Longest text of what is wrong with a policy of a question, in bytes: the plugin's own words are in it.
const MAX_FAULT: usize = 1 << 10;
const EXAMPLE: &str = r#"{"tenant": "kazusa", "series": ["up{job=\"node\"}"]}"#;

pub(super) async fn explained(State(gateway): State<Gateway>, request: Request<Body>) -> Response {
    match answer(&gateway, request).await {
        Ok(explained) => success(explained),
        Err((status, error)) => failed(status, &error),
    }
}

async fn answer(gateway: &Gateway, request: Request<Body>) -> Result<Explained, NoAnswer> {
    let busy = |_| {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "other questions are being answered; ask again".to_owned(),
        )
    };
    let _place = gateway.questions.try_acquire().map_err(busy)?;
    let Inquiry {
        tenant,
        series,
        policies,
    } = read(request, EXAMPLE).await?;
    let tenant = tenant_id(&tenant)?;
    if series.is_empty() || series.len() > MAX_SERIES {
        return Err(bad(format!(
            "a question has 1 to {MAX_SERIES} series, this one {}",
            series.len()
        )));
    }
    let parsed = series.iter().enumerate();
    let parsed =
        parsed.map(|(index, text)| parse_series(text).map_err(|error| bad(format!("series[{index}]: {error}"))));
    let series = parsed.collect::<Result<Vec<_>, _>>()?;
    let current = gateway.generations.current();
    let serving = serving(&current.tenants, &tenant)?;
    let Some(policies) = policies else {
        return Ok(explain_all(serving, &series).await);
    };
    let aside = under(&current, serving, policies)
        .await
        .map_err(|error| match error.may_pass() {
            true => (StatusCode::SERVICE_UNAVAILABLE, plain(&error.to_string(), MAX_FAULT)),
            false => (StatusCode::BAD_REQUEST, plain(&error.to_string(), MAX_FAULT)),
        })?;
    Ok(explain_all(&aside, &series).await)
}
