"""The rule language: check rules and compile them to numpy. This version knows the plain JSON form."""

from functions.rules.language import (
    Compiled,
    Condition,
    Rule,
    RuleFault,
    check_rules,
    compile_rules,
)

__all__ = ["Compiled", "Condition", "Rule", "RuleFault", "check_rules", "compile_rules"]
