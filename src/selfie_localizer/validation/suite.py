"""The rules on rows, as a Great Expectations suite; `validate.derive` makes the columns that they speak of."""

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from selfie_localizer import params

if TYPE_CHECKING:
    import great_expectations as gx

COLUMNS = ["image", "sha256", "annotator", "x1", "y1", "x2", "y2", "score", "width", "height"]


def build_suite(limits: params.Validate) -> "gx.ExpectationSuite":
    """Returns the suite: one plain expectation for each rule, whose name is its `meta["rule"]`.

    Great Expectations passes over missing values, so a row breaks no rule that cannot be judged for it. An expectation
    fails as a whole where it alone takes more rows than `limits.max_rejected` allows.
    """
    import great_expectations as gx
    from great_expectations.expectations import (
        ExpectColumnValuesToBeBetween,
        ExpectColumnValuesToBeInSet,
        ExpectColumnValuesToBeNull,
        ExpectTableColumnsToMatchSet,
    )

    enough = 1 - limits.max_rejected

    def rule(name: str, description: str) -> dict[str, Any]:
        description += f" (at least {enough:.0%} of the rows)"
        return {"meta": {"rule": name}, "description": description, "mostly": enough}

    def null(name: str, description: str, column: str) -> Any:
        return ExpectColumnValuesToBeNull(column=column, **rule(name, description))

    def between(name: str, description: str, column: str, low: float | None, high: float | None, **more: Any) -> Any:
        return ExpectColumnValuesToBeBetween(
            column=column, min_value=low, max_value=high, **more, **rule(name, description)
        )

    least, greatest = limits.smallest_face, limits.largest_face
    narrow, wide = limits.min_aspect, limits.max_aspect
    return gx.ExpectationSuite(
        "selfies",
        expectations=[
            ExpectTableColumnsToMatchSet(column_set=COLUMNS, exact_match=False, meta={"rule": "columns"}),
            ExpectColumnValuesToBeInSet(
                column="file", value_set=["present"], **rule("file_exists", "The image file exists")
            ),
            null("file_decodes", "The image file decodes", "error"),
            null("number", "x1, y1, x2 and y2 are finite numbers", "not_a_number"),
            between("x_order", "x1 < x2: the box is wider than 0 pixels", "box_width", 0, None, strict_min=True),
            between("y_order", "y1 < y2: the box is higher than 0 pixels", "box_height", 0, None, strict_min=True),
            between("inside_image", "The box reaches 0 pixels out of its image", "pixels_outside", None, 0),
            between(
                "face_size", f"Box size, √(box area / image area): {least} to {greatest}", "face_size", least, greatest
            ),
            between("aspect", f"Box width / height: {narrow} to {wide}", "aspect", narrow, wide),
            between(
                "one_row_per_image",
                "One row for image and annotator: the largest box, 1st in rank",
                "rank_in_image",
                1,
                1,
            ),
            null("duplicate", "No earlier row has another face on an image of the same bytes", "duplicate_of"),
        ],
    )


def describe(limits: params.Validate) -> dict[str, str]:
    """Returns what each rule asks for, in a sentence."""
    return {
        (expectation.meta or {})["rule"]: str(expectation.description or "All columns are there").split(" (at least")[0]
        for expectation in build_suite(limits).expectations
    }


def run_suite(frame: pd.DataFrame, limits: params.Validate, site: Path) -> list[tuple[str, str, list[int]]]:
    """Runs the suite and builds Great Expectations' own data docs.

    Args:
        frame: What `validate.derive` returned.
        limits: The section `validate` of the parameters.
        site: A folder for the data docs.

    Returns:
        For each rule in order: its name, its column, and the index labels of the rows that break it.
    """
    import great_expectations as gx
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site.resolve())}
    index = {"class_name": "DefaultSiteIndexBuilder"}
    context.update_data_docs_site(
        "local_site", {"class_name": "SiteBuilder", "store_backend": store, "site_index_builder": index}
    )
    asset = context.data_sources.add_pandas("build").add_dataframe_asset("annotations")
    batch = asset.add_batch_definition_whole_dataframe("rows")
    suite = context.suites.add(build_suite(limits))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name="rows", data=batch, suite=suite))
    result = definition.run(
        batch_parameters={"dataframe": _escaped(frame)},
        result_format={"result_format": "COMPLETE", "return_unexpected_index_query": False},
        run_id=RunIdentifier(run_name="validate"),
    )
    context.build_data_docs()
    found = []
    for outcome in result.results:
        if outcome.exception_info.get("raised_exception"):
            raise RuntimeError(f"{outcome.expectation_config}: {outcome.exception_info}")
        config = outcome.expectation_config
        assert config is not None
        rows = [int(row) for row in outcome.result.get("unexpected_index_list") or []]
        found.append((config.meta["rule"], config.kwargs.get("column", ""), rows))
    return found


def _escaped(frame: pd.DataFrame) -> pd.DataFrame:
    """Great Expectations writes values into its pages as they are; a file's name must not become a tag."""
    texts = frame.select_dtypes(exclude="number").columns
    return frame.assign(**{name: frame[name].map(html.escape, na_action="ignore") for name in texts})
