"""Errors that a user can cause, each told in one line and with an exit code of its own."""


class DqrunError(Exception):
    """Base of all errors that `dqrun` reports in one line, without a traceback."""

    exit_code = 1


class ConfigError(DqrunError):
    """A configuration value that breaks a rule: `<dotted.field> must <rule>, got <value>`."""

    exit_code = 2

    @classmethod
    def rule(cls, field: str, rule: str, value: object) -> "ConfigError":
        """The one wording of all rule violations, e.g. `quant.bits must be in 2..8, got 9`."""
        return cls(f"{field} must {rule}, got {value!r}")


class DataError(DqrunError):
    """A dataset that is missing, unreadable or not in the expected format; names the file."""

    exit_code = 2


class ResultsError(DqrunError):
    """A results folder that cannot be written or read; names the path."""

    exit_code = 2


class TrialFailed(DqrunError):
    """A trial that cannot give a number (a loss that is not finite, a full disk); recorded in its row."""
