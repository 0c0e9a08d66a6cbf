//! Policies as text, lifted to the contract by hand: no toolchain makes a guest that means harm.
//!
//! Takes nothing, gives what every such component has behind its core instance.

/// Behind `(core instance $i ..)` of a module that exports `memory`, `realloc`, `configure` and `relabel`.
pub const LIFTED: &str = r#"
        (alias core export $i "memory" (core memory $memory))
        (alias core export $i "realloc" (core func $realloc))
        (type $label' (record (field "name" string) (field "value" string)))
        (export $label "label" (type $label'))
        (type $budget' (record (field "name" string) (field "max-active-series" u64)))
        (export $budget "budget" (type $budget'))
        (type $edit' (record (field "labels" (option (list $label))) (field "stream" (option string))
          (field "budget" (option $budget))))
        (export $edit "edit" (type $edit'))
        (type $verdict' (variant (case "keep") (case "drop" string) (case "edit" $edit)))
        (export $verdict "verdict" (type $verdict'))
        (type $context' (record (field "tenant" string) (field "upstreams" (list string))))
        (export $context "context" (type $context'))
        (func (export "configure") (param "settings" string) (param "context" $context) (result (result (error string)))
          (canon lift (core func $i "configure") (memory $memory) (realloc $realloc)))
        (func (export "relabel") (param "series" (list (list $label))) (result (result (list $verdict) (error string)))
          (canon lift (core func $i "relabel") (memory $memory) (realloc $realloc)))
"#;
