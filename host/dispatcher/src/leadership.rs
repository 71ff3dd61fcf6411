//! The life of leader processes: Created → Running → Stopped, one at a time.
//!
//! Pure. Knows nothing of jobs, only when to recover, to serve and to stop.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No process: the former one, if any, has stopped.
    Idle,
    /// The process recovers what the former leader left.
    Created {
        session: u128,
    },
    Running {
        session: u128,
    },
    /// The process suspends its jobs; `next` starts when it has stopped.
    Stopping {
        next: Option<u128>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Granted {
        session: u128,
    },
    Revoked,
    /// The process in `Created` has recovered.
    Recovered,
    /// The process in `Stopping` has stopped.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Recover { session: u128 },
    Serve { session: u128 },
    Stop,
}

impl State {
    /// The one table of transitions; what is not in it changes nothing.
    pub(crate) fn next(self, input: Input) -> (State, Option<Command>) {
        match (self, input) {
            (State::Idle, Input::Granted { session }) => {
                (State::Created { session }, Some(Command::Recover { session }))
            }
            (State::Created { session }, Input::Recovered) => {
                (State::Running { session }, Some(Command::Serve { session }))
            }
            (State::Created { .. } | State::Running { .. }, Input::Granted { session }) => {
                (State::Stopping { next: Some(session) }, Some(Command::Stop))
            }
            (State::Created { .. } | State::Running { .. }, Input::Revoked) => {
                (State::Stopping { next: None }, Some(Command::Stop))
            }
            (State::Stopping { .. }, Input::Granted { session }) => {
                (State::Stopping { next: Some(session) }, None)
            }
            (State::Stopping { .. }, Input::Revoked) => (State::Stopping { next: None }, None),
            (State::Stopping { next: None }, Input::Stopped) => (State::Idle, None),
            (State::Stopping { next: Some(session) }, Input::Stopped) => {
                (State::Created { session }, Some(Command::Recover { session }))
            }
            (state, _) => (state, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::fmt::Write;

    #[test]
    fn every_input_in_every_state() {
        let states = [
            State::Idle,
            State::Created { session: 1 },
            State::Running { session: 1 },
            State::Stopping { next: None },
            State::Stopping { next: Some(2) },
        ];
        let inputs = [Input::Granted { session: 3 }, Input::Revoked, Input::Recovered, Input::Stopped];
        let mut table = String::new();
        for state in states {
            for input in inputs {
                let (next, command) = state.next(input);
                if (next, command) != (state, None) {
                    let command = command.map(|c| format!(", {c:?}")).unwrap_or_default();
                    writeln!(table, "{state:?} + {input:?} -> {next:?}{command}").unwrap();
                }
            }
        }
        expect![[r#"
            Idle + Granted { session: 3 } -> Created { session: 3 }, Recover { session: 3 }
            Created { session: 1 } + Granted { session: 3 } -> Stopping { next: Some(3) }, Stop
            Created { session: 1 } + Revoked -> Stopping { next: None }, Stop
            Created { session: 1 } + Recovered -> Running { session: 1 }, Serve { session: 1 }
            Running { session: 1 } + Granted { session: 3 } -> Stopping { next: Some(3) }, Stop
            Running { session: 1 } + Revoked -> Stopping { next: None }, Stop
            Stopping { next: None } + Granted { session: 3 } -> Stopping { next: Some(3) }
            Stopping { next: None } + Stopped -> Idle
            Stopping { next: Some(2) } + Granted { session: 3 } -> Stopping { next: Some(3) }
            Stopping { next: Some(2) } + Revoked -> Stopping { next: None }
            Stopping { next: Some(2) } + Stopped -> Created { session: 2 }, Recover { session: 2 }
        "#]]
        .assert_eq(&table);
    }
}
