"""How scores show in the App: their own sidebar group, and a workspace with the plugin's panel beside the grid."""

from __future__ import annotations

import fiftyone as fo

GROUP = "learnability"
"""The sidebar group of the fields."""

WORKSPACE = "Learnability"
"""The saved workspace."""

PANEL = "learnability_panel"
"""The plugin's panel."""

_DESCRIPTION = "The grid beside the panel that compares networks"


def show_in_app(dataset: fo.Dataset, fields: list[str]) -> None:
    """Put fields into the sidebar group, and save the workspace unless one of that name exists.

    Args:
        dataset: the dataset
        fields: the fields
    """
    groups = dataset.app_config.sidebar_groups or fo.DatasetAppConfig.default_sidebar_groups(dataset)
    names = [group.name for group in groups]
    if GROUP in names:
        ours = groups[names.index(GROUP)]
    else:
        ours = fo.SidebarGroupDocument(name=GROUP, paths=[])
        # after the labels that the scores are about
        groups.insert(names.index("labels") + 1 if "labels" in names else 0, ours)
    for group in groups:
        group.paths = [path for path in group.paths if path not in fields or group is ours]
    ours.paths += [field for field in fields if field not in ours.paths]
    dataset.app_config.sidebar_groups = groups
    dataset.save()
    if not dataset.has_workspace(WORKSPACE):
        grid, panel = fo.Panel(type="Samples", pinned=True), fo.Panel(type=PANEL)
        space = fo.Space(
            children=[
                fo.Space(children=[grid], active_child=grid.component_id),
                fo.Space(children=[panel], active_child=panel.component_id),
            ],
            orientation="horizontal",
        )
        dataset.save_workspace(WORKSPACE, space, description=_DESCRIPTION)


def tidy_app(dataset: fo.Dataset) -> None:
    """Remove the sidebar group once it is empty, and with it the workspace unless it is the user's."""
    groups = dataset.app_config.sidebar_groups or []
    if any(group.name == GROUP and group.paths for group in groups):
        return
    dataset.app_config.sidebar_groups = [group for group in groups if group.name != GROUP] or None
    dataset.save()
    if _has_our_workspace(dataset):
        dataset.delete_workspace(WORKSPACE)


def _has_our_workspace(dataset: fo.Dataset) -> bool:
    """Return whether the workspace is the one that :func:`show_in_app` saves, not one that the user made or changed."""
    if not dataset.has_workspace(WORKSPACE) or dataset.get_workspace_info(WORKSPACE)["description"] != _DESCRIPTION:
        return False
    spaces = dataset.load_workspace(WORKSPACE).children
    panels = [[panel.type for panel in space.children] for space in spaces if isinstance(space, fo.Space)]
    return panels == [["Samples"], [PANEL]]
