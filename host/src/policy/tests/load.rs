//! What may be loaded, and what compiling may cost.

use wasm_encoder::Module;

use super::*;

async fn refused(bytes: &[u8]) -> LoadError {
    refused_by(shared(), bytes).await
}

async fn refused_by(engine: &Arc<Engine>, bytes: &[u8]) -> LoadError {
    let policies = [policy(source("bad", bytes), "{}")];
    match Chain::build(engine, &tenant("load"), &policies, 1)
        .await
        .unwrap_err()
        .fault
    {
        BuildFault::Load(error) => error,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_is_no_component_is_refused_for_what_it_is() {
    let module = Module::new().finish();
    assert_eq!(refused(&module).await, LoadError::Compile(CompileError::CoreModule));
    assert_eq!(refused(b"").await, LoadError::Compile(CompileError::NotWasm));
    assert_eq!(
        refused(b"#!/bin/sh\nexit 0\n").await,
        LoadError::Compile(CompileError::NotWasm)
    );
    let large = vec![0; compile::MAX_PLUGIN + 1];
    assert_eq!(
        refused(&large).await,
        LoadError::Compile(CompileError::TooLarge(large.len()))
    );
}

#[tokio::test]
async fn truncated_and_damaged_components_are_refused() {
    let whole = fixture("pass").bytes.clone();
    for length in [8, 9, 100, whole.len() / 2, whole.len() - 1] {
        let error = refused(&whole[..length]).await;
        assert!(
            matches!(
                error,
                LoadError::Compile(CompileError::Refused(_)) | LoadError::Contract(ContractError::NoConfigure)
            ),
            "{length}: {error}"
        );
    }
    let mut random = whole[..8].to_vec();
    random.extend((0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8));
    assert!(matches!(
        refused(&random).await,
        LoadError::Compile(CompileError::Refused(_))
    ));
}

#[tokio::test]
async fn a_component_without_the_worlds_exports_is_refused() {
    let empty = wasm_encoder::Component::new().finish();
    assert_eq!(refused(&empty).await, LoadError::Contract(ContractError::NoConfigure));
}
