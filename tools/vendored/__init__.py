"""What the pages load from `pisync/web/vendor`, for audits and for the image's list of packages.

`package.json` names it with its versions: what lies there, and what swagger-ui-dist bundles as far
as its code states a version. The lock has the licences. npm installs nothing from here.
"""
