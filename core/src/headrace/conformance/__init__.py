"""One suite per kind of plugin, shipped inside core so that promises and contracts have the same version."""
