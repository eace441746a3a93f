"""From things in columns to a scene: boxes, and the links that join them, with texts and colours, but no coordinates.

Read in this order: ``theme`` and ``contrast`` (matters of taste), ``scene`` (what a scene is), ``text`` (what boxes
say), ``conveyors`` (states that run straight through a step), ``style`` (colours and sizes), ``build`` (all of it).
"""
