"""The portal: pages for analysts and operators, on the same actions as the API and the commands."""
