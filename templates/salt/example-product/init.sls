# The executable, the trust, and the release of a minion: `salt '*' state.apply example-product test=True` shows the plan.
/var/lib/waybill-bundles/install:
  file.managed:
    - source: salt://install
    - mode: '0700'
    - makedirs: true
    - dir_mode: '0700'
  cmd.run:
    - name: /var/lib/waybill-bundles/install setup
    - unless: cmp -s /var/lib/waybill-bundles/install /opt/waybill/bin/install
    - require:
      - file: /var/lib/waybill-bundles/install

salt://root.json:
  waybill.trusted:
    - fingerprint: "{{ pillar.get('waybill', {}).get('fingerprint', '') }}" # from the trust sheet, which came another way than root.json
    - require:
      - cmd: /var/lib/waybill-bundles/install

example-product:
  waybill.installed:
    - source: salt://example-product-0.1.0.tar
    - version: 0.1.0
    - require:
      - waybill: salt://root.json
