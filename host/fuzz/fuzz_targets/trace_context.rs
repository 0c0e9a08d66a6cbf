//! What a sender says its write is part of, of any content: what is taken is taken again as it goes on, within the bounds of
//! W3C Trace Context, and what does not look like it at a glance is not taken.
#![no_main]

use gauntlet::traces::{SenderContext, TRACE_PARENT, TRACE_STATE};
use hyper::header::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // A line of `traceparent`, then lines of `tracestate`.
    let lines = data.split(|byte| *byte == b'\n').map(HeaderValue::from_bytes);
    let Ok(lines) = lines.collect::<Result<Vec<_>, _>>() else {
        return;
    };
    let (parent, states) = lines.split_first().expect("a split gives one");
    let Some(context) = SenderContext::of(&headers(parent, states)) else {
        return;
    };
    let own = context.parent.header();
    let text = own.to_str().expect("hexadecimal digits");
    let parts: Vec<&str> = text.split('-').collect();
    assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
    assert_eq!(parts[0], "00");
    // The ids are the sender's own bytes.
    assert_eq!(&text.as_bytes()[2..53], &parent.as_bytes()[2..53]);
    assert!(!parts[1..3].iter().any(|id| id.bytes().all(|byte| byte == b'0')));
    if let Some(state) = &context.state {
        let state = state.to_str().expect("printable ASCII and tabs");
        assert!(state.len() <= 512);
        let members: Vec<&str> = state
            .split(',')
            .map(str::trim)
            .filter(|member| !member.is_empty())
            .collect();
        assert!((1..=32).contains(&members.len()), "{members:?}");
        assert!(
            members.iter().all(|member| member.matches('=').count() == 1),
            "{members:?}"
        );
    }
    let again = context.state.iter().cloned().collect::<Vec<_>>();
    assert_eq!(SenderContext::of(&headers(&own, &again)), Some(context));
});

fn headers(parent: &HeaderValue, states: &[HeaderValue]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(TRACE_PARENT, parent.clone());
    for state in states {
        headers.append(TRACE_STATE, state.clone());
    }
    headers
}
