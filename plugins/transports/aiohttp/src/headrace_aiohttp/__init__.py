"""aiohttp transport for headrace: less CPU per outgoing call than the portable one."""
