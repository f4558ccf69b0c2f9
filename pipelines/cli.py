"""The `vigie` command: one function a subcommand, each thin over the rooms. Messages to users are in French."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from pipelines.logs import begin
from pipelines.settings import Settings
from pipelines.workspace import ROOT, Workspace, WorkspaceError
from sources.raw_store import RawStoreError
from warehouse.release import ReleaseError

DONE, FAILED, USAGE = 0, 1, 2

app = typer.Typer(
    name="vigie",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Vigie : système de données d'un observatoire de la pauvreté.",
)
release_app = typer.Typer(no_args_is_help=True, help="Les publications : liste, différences, retour en arrière.")
app.add_typer(release_app, name="release")
alert_app = typer.Typer(no_args_is_help=True, help="Les alertes, par courriel et webhook (VIGIE_ALERTS).")
app.add_typer(alert_app, name="alert")
perimeter_app = typer.Typer(no_args_is_help=True, help="Les territoires que l'observatoire définit lui-même.")
app.add_typer(perimeter_app, name="perimeter")


class _FileByDefault(TyperGroup):
    """`vigie deposit FILE`: what is no subcommand is a file to deposit."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = not args or args[0] in self.commands or args[0] == "--help"
        return super().parse_args(ctx, args if known else ["file", *args])


deposit_app = typer.Typer(
    cls=_FileByDefault,
    no_args_is_help=True,
    help="Les données des partenaires. « vigie deposit FICHIER » : les déposer, par leur contrat.",
)
app.add_typer(deposit_app, name="deposit")
WIDTH = None if sys.stdout.isatty() else 120  # a file or a pipe has no width of its own
out = Console(width=WIDTH)
err = Console(stderr=True, width=WIDTH)

ProfileOption = Annotated[
    str | None, typer.Option(help="demo (pays fictif), mirror (miroir local) ou live (producteurs).")
]
DataOption = Annotated[Path | None, typer.Option(help="Dossier des données (défaut : data).")]


def settings_from(**flags: object) -> Settings:
    """Settings with the flags that were given; exits with code 2 and the reason when one is wrong."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        for problem in error.errors():
            name = ".".join(str(p) for p in problem["loc"])
            found = repr(problem["input"])
            if problem["type"] == "extra_forbidden" or "@" in found:  # a password may stand there
                found = "une valeur qui n'est pas montrée"
            err.print(f"[red]Réglage {name} :[/red] {escape(problem['msg'])} (trouvé : {escape(found)})")
        raise typer.Exit(USAGE) from error


def held(data: Path | None, profile: str | None) -> Workspace:
    """The workspace of a folder already in use: fictional or real as its marker says, unless told otherwise."""
    settings = settings_from(data=data, profile=profile)
    marker = settings.data / "PROFILE"
    if profile is None and "VIGIE_PROFILE" not in os.environ and marker.exists():
        demo = marker.read_text(encoding="utf-8").strip() == "demo"
        real = "mirror" if settings.mirror else "live"
        settings = settings_from(data=data, profile="demo" if demo else real)
    return Workspace(settings)


def logged(workspace: Workspace) -> Workspace:
    """The same, its command's messages being JSON lines where the settings say so."""
    if workspace.settings.log == "json":
        begin(out, err)
    return workspace


def published_file(workspace: Workspace) -> Path:
    """The published DuckDB file; exits with code 1 and what to do when there is none."""
    path = workspace.data / "vigie.duckdb"
    if not path.exists():
        err.print(f"Rien n'est publié dans {workspace.data}. À faire : lancer « vigie run ».")
        raise typer.Exit(FAILED)
    return path


@app.command()
def run(
    profile: ProfileOption = None,
    data: DataOption = None,
    years: Annotated[str | None, typer.Option(help="Années de données, par exemple 2014-2021.")] = None,
    cog: Annotated[int | None, typer.Option(help="Année du COG de référence.")] = None,
    editions: Annotated[
        str | None,
        typer.Option(help="Ne demander que celles-ci, par exemple « insee_filosofi_cc/2019-geo2022 cnaf_commune/* »."),
    ] = None,
) -> None:
    """Tout le travail : acquérir, calculer, contrôler, publier."""
    from pipelines.running import run_job, storage_errors

    workspace = logged(Workspace(settings_from(profile=profile, data=data, years=years, cog=cog)))
    try:
        code = run_job(workspace, out, err, (editions or "").split())
    except WorkspaceError as error:
        err.print(f"[red]{escape(str(error))}[/red]", highlight=False)
        raise typer.Exit(USAGE) from error
    except (OSError, RawStoreError, ReleaseError, *storage_errors()) as error:
        said = getattr(error, "orig", error)  # of a base, less the query
        told = f"Le dossier {workspace.data} refuse : {said}. À faire : vigie doctor, qui dit ce qui ne va pas."
        err.print(f"[red]{escape(told)}[/red]", highlight=False)
        raise typer.Exit(FAILED) from error
    raise typer.Exit(code)


@app.command()
def check(data: DataOption = None, profile: ProfileOption = None) -> None:
    """Les contrôles, sur la candidate la plus récente ou, à défaut, sur la publication."""
    from pipelines.running import check_newest

    raise typer.Exit(check_newest(held(data, profile), out))


@app.command()
def status(
    data: DataOption = None,
    profile: ProfileOption = None,
    offline: Annotated[bool, typer.Option(help="Ne pas interroger les producteurs.")] = False,
    coverage: Annotated[bool, typer.Option(help="La couverture des indicateurs, à la place.")] = False,
) -> None:
    """Sources, éditions, dernière exécution, contrôles en échec, ce qui est plus récent chez les producteurs."""
    if coverage:
        from pipelines.reading import show_coverage

        raise typer.Exit(show_coverage(published_file(Workspace(settings_from(data=data))), out))
    from pipelines.running import show_status

    raise typer.Exit(show_status(held(data, profile), out, offline=offline))


@app.command()
def restore(
    release_id: Annotated[str, typer.Argument(metavar="PUBLICATION", help="Son identifiant (vigie release list).")],
    into: Annotated[Path | None, typer.Option(help="Où la refaire (défaut : <données>/restored).")] = None,
    data: DataOption = None,
) -> None:
    """Refait une publication passée depuis les fichiers reçus, et la compare à ce qui a été publié."""
    from pipelines.running import restore_release

    raise typer.Exit(restore_release(held(data, None), release_id, into, out, err))


@app.command()
def doctor(
    data: DataOption = None,
    profile: ProfileOption = None,
    repair: Annotated[bool, typer.Option("--repair", help="Réparer ce qui se refait sans risque.")] = False,
    network: Annotated[bool, typer.Option("--network", help="Demander aussi aux producteurs s'ils répondent.")] = False,
) -> None:
    """Examine l'installation et le dossier : ce qui va, ce qui ne va pas, que faire. Code 1 s'il reste à corriger."""
    from pipelines.doctor import run_doctor

    try:
        code = run_doctor(held(data, profile), out, repair=repair, network=network)
    except WorkspaceError as error:
        err.print(f"[red]{escape(str(error))}[/red]", highlight=False)
        raise typer.Exit(USAGE) from error
    raise typer.Exit(code)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="Une requête SQL (DuckDB), en lecture seule.")],
    data: DataOption = None,
    csv: Annotated[bool, typer.Option(help="Sortie en CSV plutôt qu'en tableau.")] = False,
) -> None:
    """Une requête sur le fichier publié."""
    from pipelines.reading import run_query

    path = published_file(Workspace(settings_from(data=data)))
    raise typer.Exit(run_query(path, query, out, err, csv=csv))


@app.command()
def portrait(
    territory: Annotated[str, typer.Argument(help="Identifiant, par exemple COM-91286, ou nom d'un territoire.")],
    data: DataOption = None,
    year: Annotated[int | None, typer.Option(help="Année (défaut : la dernière de chaque indicateur).")] = None,
) -> None:
    """Un territoire face à son EPCI, son département, sa région et la métropole."""
    from pipelines.reading import show_portrait

    path = published_file(Workspace(settings_from(data=data)))
    raise typer.Exit(show_portrait(path, territory, year, out, err))


@release_app.command("list")
def release_list(data: DataOption = None) -> None:
    """Les publications, de la plus ancienne à la plus récente."""
    from pipelines.reading import show_releases

    raise typer.Exit(show_releases(Workspace(settings_from(data=data)), out))


@release_app.command("diff")
def release_diff(first: str, second: str, data: DataOption = None) -> None:
    """Ce qui change d'une publication à l'autre."""
    from pipelines.reading import show_diff

    raise typer.Exit(show_diff(Workspace(settings_from(data=data)), first, second, out, err))


@release_app.command("rollback")
def release_rollback(release_id: str, data: DataOption = None) -> None:
    """Publie de nouveau une publication passée."""
    from pipelines.running import roll_back

    raise typer.Exit(roll_back(Workspace(settings_from(data=data)), release_id, out, err))


@release_app.command("candidates")
def release_candidates(data: DataOption = None) -> None:
    """La candidate qui attend une décision, ou que ses contrôles ont refusée."""
    from pipelines.deciding import list_candidates

    raise typer.Exit(list_candidates(held(data, None), out))


@release_app.command("approve")
def release_approve(release_id: str, data: DataOption = None) -> None:
    """Publie une candidate qui attend une décision."""
    from pipelines.deciding import approve

    raise typer.Exit(approve(logged(held(data, None)), release_id, out, err))


@release_app.command("reject")
def release_reject(release_id: str, data: DataOption = None) -> None:
    """Écarte une candidate."""
    from pipelines.deciding import reject

    raise typer.Exit(reject(held(data, None), release_id, out, err))


@release_app.command("push")
def release_push(
    url: Annotated[
        str | None, typer.Argument(metavar="DÉPÔT", help="s3://seau/dossier (défaut : VIGIE_REMOTE).")
    ] = None,
    release_id: Annotated[str | None, typer.Option("--release", help="Une autre que celle en vigueur.")] = None,
    partner: Annotated[
        bool, typer.Option("--partner", help="Avec l'édition des partenaires, vers un dépôt à leur seul usage.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Envoie la publication en vigueur vers un dépôt d'objets (S3), le pointeur en dernier."""
    from pipelines.sending import show_push

    raise typer.Exit(show_push(logged(held(data, None)), url, release_id, out, err, partner=partner))


@app.command()
def prune(
    data: DataOption = None,
    apply: Annotated[bool, typer.Option("--apply", help="Supprimer, et non seulement dire quoi.")] = False,
) -> None:
    """Ce que la politique de conservation ne garde plus : publications, fichiers bruts, exécutions."""
    from pipelines.pruning import show_prune
    from pipelines.running import instance_environment

    workspace = logged(held(data, None))
    os.environ.update(instance_environment(workspace))
    try:
        code = show_prune(workspace, out, apply=apply)
    except (WorkspaceError, ReleaseError) as error:
        err.print(f"[red]{escape(str(error))}[/red]", highlight=False, soft_wrap=True)
        raise typer.Exit(USAGE) from error
    raise typer.Exit(code)


@alert_app.command("test")
def alert_test() -> None:
    """Envoie un message d'essai par chaque canal de VIGIE_ALERTS, et dit ceux qui ne l'ont pas pris."""
    from pipelines.alerts import try_channels

    raise typer.Exit(try_channels(out, err))


@perimeter_app.command("add")
def perimeter_add(
    name: Annotated[str, typer.Argument(help="Nom du territoire ; son identifiant PER-… en est tiré.")],
    communes: Annotated[
        str | None,
        typer.Option(help="Codes de communes, ou identifiants EPCI-…, DEP-…, ZE-…, IRIS-…, séparés par des espaces."),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Les mêmes, un par ligne.", exists=True, dir_okay=False)] = None,
    cog: Annotated[int | None, typer.Option(help="COG de ces codes (défaut : celui des séries).")] = None,
    data: DataOption = None,
) -> None:
    """Définit un périmètre, ou en ajoute une version ; publié à la prochaine exécution."""
    from pipelines.defining import add_perimeter

    typed = f"{communes or ''} {file.read_text(encoding='utf-8-sig') if file else ''}"
    raise typer.Exit(add_perimeter(held(data, None), name, typed, cog, out, err))


@perimeter_app.command("list")
def perimeter_list(data: DataOption = None) -> None:
    """Les périmètres définis dans ce dossier."""
    from pipelines.defining import list_perimeters

    raise typer.Exit(list_perimeters(held(data, None), out, err))


@perimeter_app.command("show")
def perimeter_show(
    name: Annotated[str, typer.Argument(help="Nom ou identifiant PER-….")], data: DataOption = None
) -> None:
    """La composition d'un périmètre, et ce qu'il partage avec les territoires publiés."""
    from pipelines.defining import show_perimeter

    raise typer.Exit(show_perimeter(held(data, None), name, out, err))


@deposit_app.command("file")
def deposit_file(
    path: Annotated[
        Path, typer.Argument(metavar="FICHIER", help="CSV, .xlsx ou Parquet.", exists=True, dir_okay=False)
    ],
    contract: Annotated[str | None, typer.Option(help="Nom du contrat (défaut : d'après le fichier).")] = None,
    cog: Annotated[int | None, typer.Option(help="COG des codes (défaut : celui du contrat ou des séries).")] = None,
    data: DataOption = None,
) -> None:
    """Dépose un fichier : accepté, il est publié à la prochaine exécution ; refusé, un rapport dit pourquoi."""
    from pipelines.depositing import deposit

    raise typer.Exit(deposit(held(data, None), path, contract, cog, out, err))


@deposit_app.command("new")
def deposit_new(
    name: Annotated[str, typer.Argument(help="Nom du contrat, par exemple caf_prestations.")], data: DataOption = None
) -> None:
    """Écrit un contrat commenté et ses formulaires vierges (CSV et .xlsx)."""
    from pipelines.depositing import new_contract

    raise typer.Exit(new_contract(held(data, None), name, out, err))


@deposit_app.command("list")
def deposit_list(data: DataOption = None) -> None:
    """Les dépôts : en vigueur, remplacés, retirés, refusés, effacés. Efface ce qui n'est plus à garder."""
    from pipelines.depositing import list_deposits

    raise typer.Exit(list_deposits(held(data, None), out, err))


@deposit_app.command("withdraw")
def deposit_withdraw(
    deposit: Annotated[str, typer.Argument(help="Identifiant du dépôt (vigie deposit list).")],
    reason: Annotated[str, typer.Option(help="Pourquoi, pour le registre ; sans nom de personne.")] = "",
    data: DataOption = None,
) -> None:
    """Retire un dépôt : absent de la prochaine publication, le registre le dit."""
    from pipelines.depositing import withdraw

    raise typer.Exit(withdraw(held(data, None), deposit, reason, out, err))


@app.command()
def dev(
    data: DataOption = None,
    profile: ProfileOption = None,
    port: Annotated[int, typer.Option(help="Port de la page, sur l'interface locale.")] = 3000,
) -> None:
    """La page et le démon de Dagster, sur l'interface locale."""
    from pipelines.running import close_dead_runs, instance_environment

    workspace = Workspace(settings_from(profile=profile, data=data))
    os.environ.update(instance_environment(workspace))
    try:
        workspace.lock()  # until the page's process takes the place of this one
    except WorkspaceError as error:
        told = f"{error} D'ici là, la page la montre, et ce qu'on y lance attend."
        err.print(f"[yellow]{escape(told)}[/yellow]", highlight=False)
    else:
        for done in close_dead_runs():
            err.print(f"[yellow]Reprise :[/yellow] {done}", highlight=False)
    command = [
        sys.executable,
        "-m",
        "dagster",
        "dev",
        "-m",
        "pipelines.code_location",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    os.chdir(ROOT)
    os.execv(command[0], command)


def main() -> None:
    """Entry point of the `vigie` command. Exit codes: 0 done, 1 nothing published, 2 wrong usage, 3 done, but an
    edition failed: that of an earlier run stands for it."""
    app()
