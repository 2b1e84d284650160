"""``rag-chain doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--repair", action="store_true", help="remove what runs that broke off left in the store")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Check everything, or repair the store; 1 when something is wrong."""
    from rag_chain.cli import DONE, FAILED
    from rag_chain.cli.common import given_settings, print_json
    from rag_chain.diagnosis import diagnose, repair

    report = (repair if options.repair else diagnose)(given_settings(options))
    if options.json:
        print_json(report)
    else:
        for check in report["checks"]:
            mend = f"\n      {check['mend']}" if check["mend"] else ""
            print(f"{'ok  ' if check['ok'] else 'FAIL'}  {check['name']}: {check['detail']}{mend}")
    return DONE if report["ok"] else FAILED
