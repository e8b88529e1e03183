{{- define "lan-chat.image" -}}
{{ .root.Values.image.registry }}lan-chat/{{ .name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "lan-chat.secret" -}}
{{ if .Values.token }}{{ .Release.Name }}-token{{ else }}{{ .Values.existingSecret }}{{ end }}
{{- end }}

{{- define "lan-chat.selector" -}}
app.kubernetes.io/name: lan-chat
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "lan-chat.labels" -}}
{{ include "lan-chat.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* A member alone needs no names of other pods. */ -}}
{{- define "lan-chat.peers" -}}
{{- if eq (int .Values.replicas) 1 -}}
{{ .Release.Name }}-0=http://127.0.0.1:2380
{{- else -}}
{{- range $number := until (int .Values.replicas) -}}
{{ if $number }},{{ end }}{{ $.Release.Name }}-{{ $number }}=http://{{ $.Release.Name }}-{{ $number }}.{{ $.Release.Name }}-members:2380
{{- end -}}
{{- end -}}
{{- end }}
