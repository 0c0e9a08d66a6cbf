//! `gauntlet completions` and `gauntlet man`: what a shell and a reader of manuals are given.
//!
//! Takes the command line as it is, writes a script or a page to standard output.

use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, roman};

use super::answer::{Done, write_out};

pub(super) const COMPLETIONS: &str = r"Examples:
  gauntlet completions bash > /etc/bash_completion.d/gauntlet
  gauntlet completions zsh > /usr/share/zsh/site-functions/_gauntlet
  gauntlet completions fish > ~/.config/fish/completions/gauntlet.fish";

pub(super) const MAN: &str = r"Examples:
  gauntlet man | man -l -
  gauntlet man > /usr/local/share/man/man1/gauntlet.1";

pub(super) fn completions(shell: Shell, mut cli: clap::Command) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli, "gauntlet", &mut script);
    write_out(&script).map(|()| false)
}

pub(super) fn man(cli: clap::Command) -> Done {
    let page = page(cli).map_err(|error| format!("cannot write the page: {error}"))?;
    write_out(&page).map(|()| false)
}

/// One page with a section for each command.
fn page(mut cli: clap::Command) -> std::io::Result<Vec<u8>> {
    cli.build();
    let mut page = Vec::new();
    let man = Man::new(cli.clone()).title("GAUNTLET").manual("Gauntlet");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    let mut roff = Roff::default();
    roff.control("SH", ["COMMANDS"]);
    commands(&cli, &mut roff);
    exit_codes(&mut roff);
    roff.to_writer(&mut page)?;
    Ok(page)
}

fn commands(of: &clap::Command, roff: &mut Roff) {
    let shown = of
        .get_subcommands()
        .filter(|one| !one.is_hide_set() && one.get_name() != "help");
    for command in shown {
        let name = command.get_bin_name().unwrap_or_default();
        roff.control("SS", [name]);
        paragraphs(command.get_about(), roff);
        for argument in command
            .get_arguments()
            .filter(|one| !["help", "version"].contains(&one.get_id().as_str()))
        {
            roff.control("TP", []);
            roff.text(head(argument));
            paragraphs(argument.get_help(), roff);
        }
        if let Some(examples) = command.get_after_help() {
            roff.control("PP", []);
            roff.control("nf", []);
            for line in examples.to_string().lines() {
                roff.text([roman(line)]);
            }
            roff.control("fi", []);
        }
        commands(command, roff);
    }
}

/// `--flag=VALUE [default: v] [variable: V]`.
fn head(argument: &clap::Arg) -> Vec<Inline> {
    use clap_mangen::roff::{bold, italic};
    let value = argument
        .get_value_names()
        .and_then(|names| names.first())
        .map(ToString::to_string);
    let value = value.filter(|_| argument.get_action().takes_values());
    let mut head = match argument.get_long() {
        Some(long) => vec![bold(format!("--{long}"))],
        None => Vec::new(),
    };
    if let Some(value) = value {
        head.extend(argument.get_long().map(|_| roman("=")));
        head.push(italic(value));
    }
    let default = argument
        .get_default_values()
        .first()
        .map(|value| value.to_string_lossy().into_owned());
    let default = default.filter(|value| argument.get_action().takes_values() && !value.is_empty());
    head.extend(default.map(|value| roman(format!(" [default: {value}]"))));
    let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned());
    head.extend(variable.map(|name| roman(format!(" [variable: {name}]"))));
    head
}

fn paragraphs(text: Option<&clap::builder::StyledStr>, roff: &mut Roff) {
    let text = text.map(ToString::to_string).unwrap_or_default();
    let mut text = text.replace('\n', " ");
    if !text.ends_with('.') {
        text.push('.');
    }
    roff.text([roman(text)]);
}

fn exit_codes(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for (code, means) in [
        ("0", "All is well."),
        ("1", "There is something to look at, or the program cannot begin."),
        ("2", "The command line is wrong, or a question could not be answered."),
    ] {
        roff.control("TP", []);
        roff.text([roman(code)]);
        roff.text([roman(means)]);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    /// What a program says of a text that it reads; `None` if the program is not there.
    fn said_by(program: &[&str], text: &[u8]) -> Option<(bool, String)> {
        let mut command = Command::new(program[0]);
        command
            .args(&program[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().ok()?;
        child.stdin.take().unwrap().write_all(text).unwrap();
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
        Some((ended.status.success(), said))
    }

    fn script(shell: Shell) -> Vec<u8> {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "gauntlet", &mut script);
        script
    }

    #[test]
    fn each_shell_takes_its_script() {
        for (shell, check) in [
            (Shell::Bash, &["bash", "-n"][..]),
            (Shell::Zsh, &["zsh", "-n", "/dev/stdin"]),
            (Shell::Fish, &["fish", "--no-execute"]),
        ] {
            let script = script(shell);
            let text = String::from_utf8_lossy(&script).into_owned();
            for word in ["top", "policy", "explain", "config.file"] {
                assert!(text.contains(word), "{shell}: {word}");
            }
            if let Some((is_good, said)) = said_by(check, &script) {
                assert!(is_good && said.is_empty(), "{shell}: {said}");
            }
        }
    }

    /// Bash is on every machine that tests are run on: what is completed is seen.
    #[test]
    fn bash_completes_commands_and_flags() {
        let mut script = script(Shell::Bash);
        script.extend_from_slice(
            b"\nCOMP_WORDS=(gauntlet sta); COMP_CWORD=1; _gauntlet gauntlet sta gauntlet; echo \"${COMPREPLY[@]}\"\n\
              COMP_WORDS=(gauntlet top --so); COMP_CWORD=2; _gauntlet gauntlet --so top; echo \"${COMPREPLY[@]}\"\n",
        );
        let (_, said) = said_by(&["bash"], &script).unwrap();
        assert_eq!(said.lines().collect::<Vec<_>>(), ["status", "--sort"]);
    }

    #[test]
    fn the_manual_has_every_command_and_argument() {
        let page = page(Cli::command()).unwrap();
        let text = String::from_utf8(page.clone()).unwrap();
        assert!(
            text.starts_with(".ie \\n(.g") && text.contains("\n.TH GAUNTLET"),
            "{text}"
        );
        for part in [
            "\n.SS \"gauntlet policy explain\"",
            "\n.SS \"gauntlet top\"",
            "\\-\\-config.file",
            "[variable: GAUNTLET_CONFIG_FILE]",
            "[default: 2s]",
            "EXIT STATUS",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("gauntlet compile"));
        if let Some((is_good, said)) = said_by(&["man", "--warnings", "-l", "-"], &page) {
            assert!(
                is_good && said.contains("COMMANDS") && !said.contains("warning:"),
                "{said}"
            );
        }
    }
}
