"""``rag-chain keys``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_chain.cli.terminal import complain, print_json, say

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from rag_chain.keys import ApiKey, KeyFile


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from rag_chain.keys import ROLES

    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    parser.add_argument(
        "--role", action="append", choices=ROLES, help="what a new key is for; repeat it for several (default: ask)"
    )
    parser.add_argument("--file", metavar="PATH", help="file of the keys (RAG_KEYS_FILE)")
    parser.add_argument("action", choices=("add", "list", "revoke"), help="add shows the new key once, and never again")
    parser.add_argument("name", nargs="?", help="name of the key to add; name or id of the one to revoke")


def run(options: argparse.Namespace) -> int:
    """Make, show or take back keys."""
    from rag_chain.cli import DONE, FAILED, WRONG_USAGE
    from rag_chain.cli.common import read_quietly
    from rag_chain.keys import KeyFile

    if (options.name is None) != (options.action == "list"):
        complain(f"keys {options.action} takes {'no name' if options.name else 'a name'}")
        return WRONG_USAGE
    settings = read_quietly(options, keys_file=options.file)
    file = KeyFile(settings.keys_file)
    if options.action == "add":
        made, secret = file.add(options.name, settings.tenant, options.role or ["ask"])
        if options.json:
            print_json({**_show(made), "key": secret})
        else:
            say(secret)
        return DONE
    shown = _list_or_revoke(file, options)
    if options.json:
        print_json([_show(key) for key in shown])
    else:
        for key in shown:
            say(f"{key.id}  {key.tenant}  {','.join(key.roles)}  {key.created}  {key.name}")
    if options.action == "revoke" and not shown:
        complain(f"no key has the name or id {options.name!r}")
        return FAILED
    return DONE


def _list_or_revoke(file: KeyFile, options: argparse.Namespace) -> list[ApiKey]:
    return list(file.read().values()) if options.action == "list" else file.revoke(options.name)


def _show(key: ApiKey) -> dict[str, Any]:
    return {"id": key.id, "name": key.name, "tenant": key.tenant, "roles": key.roles, "created": key.created}
